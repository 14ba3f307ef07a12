"""A Flask application that starts runs in the transaction of its request, with SQLAlchemy.

STREAMWORKERS_DATABASE_URL=postgresql://… flask --app examples/flask_app.py run
"""

import os

from flask import Flask, Response, jsonify, request
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from streamworkers.client import BadInputError, Client, KeyConflictError, UnknownRunError

URL = os.environ["STREAMWORKERS_DATABASE_URL"]
JOB = os.environ.get("EXAMPLE_JOB", "analysis")
app = Flask(__name__)
engine = create_engine(URL.replace("postgresql://", "postgresql+psycopg://", 1))
client = Client(URL)


@app.post("/orders")
def make_order() -> tuple[Response, int]:
    """Store an order and start its run: both are there, or neither."""
    order = request.get_json()
    with Session(engine) as session, session.begin():
        session.execute(text("INSERT INTO orders (name) VALUES (:name)"), {"name": order["name"]})
        run = client.enqueue(JOB, symbols=order["symbols"], key=f"order {order['name']}", connection=session)
    return jsonify(run=run.id), 202


@app.get("/runs/<int:run_id>")
def show_run(run_id: int) -> Response:
    """Say how far a run is."""
    state = client.run(run_id).state()
    return jsonify(status=state.status, items=state.item_count, completed=state.completed_count)


@app.errorhandler(BadInputError)
def reject(error: BadInputError) -> tuple[Response, int]:
    """Answer what breaks a rule with the value and the rule."""
    return jsonify(error=str(error)), 409 if isinstance(error, KeyConflictError) else 422


@app.errorhandler(UnknownRunError)
def not_found(error: UnknownRunError) -> tuple[Response, int]:
    """Answer for a run that is not there."""
    return jsonify(error=str(error)), 404
