"""Jobs of a team whose tests use `streamworkers.testing`; they write into the table `effects` of the tests."""

import os
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar
from uuid import UUID

import psycopg

from streamworkers import Completed, Context, Event, Item, Job, JobParameters, RunRequest
from streamworkers.database import Connection
from streamworkers.engine.outcome import Outcome
from streamworkers.engine.outside import Answer, Claim, Outside, Reply, call_outside

_ADD = "INSERT INTO effects (run_id, symbol) VALUES (%s, %s)"


class Saved(Job[JobParameters]):
    """Writes in `save`, as it should."""

    name: ClassVar[str] = "kit_saved"
    queue: ClassVar[str] = "kit"

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> Iterable[Outcome]:
        return [Completed(item) for item in items]

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        for outcome in completed:
            connection.execute(_ADD, (outcome.item.run_id, outcome.item.symbol))
        return ()


class Planted(Saved):
    """The planted fault: it writes in `execute`, on a connection of its own, past the fence."""

    name: ClassVar[str] = "kit_planted"

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> Iterable[Outcome]:
        with psycopg.connect(os.environ["STREAMWORKERS_DATABASE_URL"], autocommit=True) as own:
            for item in items:
                own.execute(_ADD, (item.run_id, item.symbol))
        return [Completed(item) for item in items]

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        return ()


class Letters(Outside[str, None]):
    """Calls for rows of the table `letters`; a call adds a line to a file."""

    def claim(self, connection: Connection, thing: str, token: UUID) -> Claim:
        row = connection.execute(
            "UPDATE letters l SET claim = %s FROM (SELECT name, claim FROM letters WHERE name = %s AND state = 'new'"
            " FOR UPDATE) old WHERE l.name = old.name RETURNING old.claim IS NOT NULL",
            (token, thing),
        ).fetchone()
        if row is None:
            return Claim.CLOSED
        return Claim.TAKEN if row[0] else Claim.FREE

    def call(self, thing: str, token: UUID) -> None:
        with open(os.environ["KIT_SENT"], "a", encoding="utf-8") as sent:  # noqa: PTH123
            sent.write(f"{thing}\n")

    def record(self, connection: Connection, thing: str, token: UUID, reply: Reply[None]) -> bool:
        state = "sent" if reply.answer is Answer.YES else "held"
        return (
            connection.execute(
                "UPDATE letters SET state = %s, claim = NULL WHERE name = %s AND claim = %s", (state, thing, token)
            ).rowcount
            == 1
        )


class Calling(Job[JobParameters]):
    """Sends letters, each by claim, call and record; what is ambiguous is held."""

    name: ClassVar[str] = "kit_calling"
    queue: ClassVar[str] = "kit"
    item_kind = "id"

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> Iterable[Outcome]:
        call_outside(context.connection, Letters(), [item.key for item in items], policy="hold")
        return [Completed(item) for item in items]


class Timed(Job[JobParameters]):
    """Says what it takes for now: in `prepare`, in `execute`, and by the database."""

    name: ClassVar[str] = "kit_timed"
    queue: ClassVar[str] = "kit"
    item_kind = "id"

    def prepare(self, connection: Connection, request: RunRequest) -> RunRequest:
        return request.with_keys([f"{request.moment():%Y%m%d}"])

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> Iterable[Outcome]:
        row = context.connection.execute("SELECT now()").fetchone()
        assert row is not None
        found = {
            "datetime": f"{datetime.now().astimezone():%Y}",
            "time": time.gmtime(time.time()).tm_year,
            "database": row[0].year,
            "as_of": None if context.as_of is None else context.as_of.isoformat(),
        }
        return [Completed(item, result=found) for item in items]
