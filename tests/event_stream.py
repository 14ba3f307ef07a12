"""Reads server-sent events of a run, as tests of the API need it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from api_stage import ApiStage
from patience import patient


class EventStream:
    """Reads a stream of server-sent events, line by line."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.iter_lines()
        self.comments = 0

    def read(self) -> dict[str, Any] | None:
        """The next event; None at the end of the stream."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line and "data" in fields:
                event: dict[str, Any] = json.loads(fields["data"])
                assert (fields["id"], fields["event"]) == (event["id"], event["kind"])
                return event
            name, _, value = line.partition(": ")
            self.comments += line.startswith(":")
            fields[name] = value
        return None

    def read_all(self) -> Iterator[dict[str, Any]]:
        """All events up to the end."""
        while (event := self.read()) is not None:
            yield event

    def kinds(self) -> list[tuple[int, str]]:
        """Number and kind of all events up to the end."""
        return [(event["seq"], event["kind"]) for event in self.read_all()]


@contextmanager
def following(api: ApiStage, run: int, last: str = "", user: str = "ann") -> Iterator[EventStream]:
    """Follow a run as a user, from its first event or behind the last one that is known."""
    headers = {"Authorization": f"Bearer {api.tokens[user]}"} | ({"Last-Event-ID": last} if last else {})
    path = f"{api.url}/api/v1/runs/{run}/events"
    with httpx.stream("GET", path, headers=headers, timeout=patient(60)) as answer:
        assert answer.status_code == 200
        yield EventStream(answer)
