"""A job that calls the outside for each item, and dies where it is told to."""

import os
import signal
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar
from urllib.request import Request, urlopen

from streamworkers.database import Connection
from streamworkers.engine.job import Context, Job, JobParameters
from streamworkers.engine.outcome import Completed, Failed, Item, Outcome
from streamworkers.engine.outside import Answer, Claim, NotDoneError, Outside, Policy, Reply, call_outside

LETTERS = """
    CREATE TABLE letters (name text PRIMARY KEY, state text NOT NULL DEFAULT 'new', claim uuid, answer text,
        ambiguous integer NOT NULL DEFAULT 0)
"""


class CallingParameters(JobParameters):
    """The server, the policy, a folder for the marks of deaths, and whether claims are made at all."""

    url: str
    folder: str
    policy: Policy = "retry"
    threads: int = 1
    claims: bool = True
    call_seconds: float = 30.0


class Letters(Outside[str, str]):
    """The statements of the table `letters`, and a request for each of its rows."""

    def __init__(self, parameters: CallingParameters) -> None:
        self._parameters = parameters

    def claim(self, connection: Connection, thing: str, token: uuid.UUID) -> Claim:
        if not self._parameters.claims:
            row = connection.execute("SELECT state = 'sent' FROM letters WHERE name = %s", (thing,)).fetchone()
            return Claim.CLOSED if row == (True,) else Claim.FREE
        row = connection.execute(
            "UPDATE letters l SET state = 'sending', claim = %s, ambiguous = l.ambiguous + (old.claim IS NOT NULL)::int"
            " FROM (SELECT name, claim FROM letters WHERE name = %s AND state IN ('new', 'sending') FOR UPDATE) old"
            " WHERE l.name = old.name RETURNING old.claim IS NOT NULL",
            (token, thing),
        ).fetchone()
        if row is None:
            return Claim.CLOSED
        return Claim.TAKEN if row[0] else Claim.FREE

    def call(self, thing: str, token: uuid.UUID) -> str:
        die_once(self._parameters, "CLAIMED", thing)
        request = Request(f"{self._parameters.url}/{thing}", headers={"X-Pid": str(os.getpid())})
        with urlopen(request, timeout=self._parameters.call_seconds) as answer:  # the test's own server
            text: str = answer.read().decode()
        if text == "refused":
            raise NotDoneError("the receiver refuses")
        die_once(self._parameters, "CALLED", thing)
        return text

    def record(self, connection: Connection, thing: str, token: uuid.UUID, reply: Reply[str]) -> bool:
        state = {Answer.YES: "sent", Answer.NO: "refused", Answer.UNKNOWN: "held"}[reply.answer]
        claims = self._parameters.claims
        return bool(
            connection.execute(
                "UPDATE letters SET state = %s, claim = NULL, answer = %s WHERE name = %s AND (claim = %s OR NOT %s)",
                (state, reply.value or reply.reason, thing, token, claims),
            ).rowcount
        )


class Calling(Job[CallingParameters]):
    """Sends a letter for each item."""

    name: ClassVar[str] = "calling"
    queue: ClassVar[str] = "tests"
    batch_size: ClassVar[int] = 8
    parameters: ClassVar[type[JobParameters]] = CallingParameters

    def execute(self, items: Sequence[Item], context: Context[CallingParameters]) -> Iterator[Outcome]:
        parameters = context.parameters
        by_name = {item.symbol: item for item in items}
        results = call_outside(
            context.connection, Letters(parameters), by_name, policy=parameters.policy, threads=parameters.threads
        )
        for result in results:
            die_once(parameters, "RECORDED", result.thing)
            item, reply = by_name[result.thing], result.reply
            if reply is None or reply.answer is Answer.YES:
                yield Completed(item)
            else:
                yield Failed(item, f"{reply.answer}: {reply.reason}", permanent=True)


def die_once(parameters: CallingParameters, point: str, name: str) -> None:
    """Kill the process at a point that the name says, the first time it gets there."""
    if name.startswith(point):
        mark = Path(parameters.folder) / f"{point}-{name}"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
