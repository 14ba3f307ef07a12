"""A FastAPI application that starts runs in the transaction of its request, with SQLAlchemy's asynchronous session.

STREAMWORKERS_DATABASE_URL=postgresql://… fastapi run examples/fastapi_app.py
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from streamworkers.client import AsyncClient, BadInputError, KeyConflictError, UnknownRunError

URL = os.environ["STREAMWORKERS_DATABASE_URL"]
JOB = os.environ.get("EXAMPLE_JOB", "analysis")
engine = create_async_engine(URL.replace("postgresql://", "postgresql+psycopg://", 1))
client = AsyncClient(URL)


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield
    await client.close()
    await engine.dispose()


app = FastAPI(lifespan=_lifespan)


class Order(BaseModel):
    """What a user orders."""

    name: str
    symbols: list[str]


@app.post("/orders", status_code=202)
async def make_order(order: Order) -> dict[str, int]:
    """Store an order and start its run: both are there, or neither."""
    async with AsyncSession(engine) as session, session.begin():
        await session.execute(text("INSERT INTO orders (name) VALUES (:name)"), {"name": order.name})
        run = await client.enqueue(JOB, symbols=order.symbols, key=f"order {order.name}", connection=session)
    return {"run": run.id}


@app.get("/runs/{run_id}")
async def show_run(run_id: int) -> dict[str, object]:
    """Say how far a run is."""
    state = await (await client.run(run_id)).state()
    return {"status": state.status, "items": state.item_count, "completed": state.completed_count}


@app.exception_handler(BadInputError)
async def reject(_request: Request, error: Exception) -> JSONResponse:
    """Answer what breaks a rule with the value and the rule."""
    return JSONResponse({"error": str(error)}, 409 if isinstance(error, KeyConflictError) else 422)


@app.exception_handler(UnknownRunError)
async def not_found(_request: Request, error: Exception) -> JSONResponse:
    """Answer for a run that is not there."""
    return JSONResponse({"error": str(error)}, 404)
