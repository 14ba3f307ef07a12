"""What tests of the provider `massive` share: the provider itself, and servers whose answers are written down."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest

from streamworkers.config import Settings
from streamworkers.errors import ItemError
from streamworkers.loading.checkpoints import CheckpointPage, CheckpointPages
from streamworkers.loading.fetch import Loaded, run_fetch
from streamworkers.loading.fetch_plan import Fetch
from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.loading.plan import Want
from streamworkers.loading.providers import provider as providers
from streamworkers.loading.providers.massive import Massive
from streamworkers.loading.providers.provider import (
    BarsRequest,
    Calls,
    Page,
)
from streamworkers.market.bars.bars import NO_BARS, Bars, concat
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, Timeframe
from streamworkers_fakes.massive import (
    FakeBars,
    FakeSplit,
)

MINUTE, HOUR, DAY, WEEK, MONTH = TIMEFRAMES.values()
NOW = datetime(2025, 12, 5, 23, 0, tzinfo=UTC)
FIRST, LAST = date(2025, 11, 24), date(2025, 11, 28)  # Thanksgiving on the 27th, a half day on the 28th
SPLITS = (
    FakeSplit("AAPL", date(2025, 11, 26), 1, 4),
    FakeSplit("MSFT", date(2025, 6, 10), 3, 2),
    FakeSplit("IBM", date(2026, 1, 5), 10, 1),
)
KEY = "a-very-secret-key"


@contextmanager
def provider(url: str, key: str = KEY, calls: Calls = providers.UNCOUNTED, **settings: Any) -> Iterator[Massive]:
    found = Massive(Settings(massive_api_key=key, massive_base_url=url, **settings), calls)
    try:
        yield found
    finally:
        found.close()


def asked(frame: Timeframe = DAY, symbol: str = "AAPL", first: date = FIRST, last: date = LAST) -> BarsRequest:
    return BarsRequest(symbol, frame, first, last)


def bars_of(pages: Sequence[Page]) -> Bars:
    return concat([NO_BARS, *(page.bars for page in pages)])


def rejection(kind: type[ItemError], url: str, question: BarsRequest | None = None, **settings: Any) -> str:
    with provider(url, **settings) as source, pytest.raises(ItemError) as raised:
        list(source.pages(question or asked()))
    assert type(raised.value) is kind
    return str(raised.value)


def require_same(bars: Bars, truth: FakeBars, starts: list[int] | None = None) -> None:
    assert bars.starts.tolist() == (truth.start_ms.tolist() if starts is None else starts)
    for name in ("open", "high", "low", "close"):
        assert getattr(bars, name).tolist() == getattr(truth, name).tolist()
    assert bars.volume.tolist() == np.rint(truth.volume).tolist()


def rules(**changes: Any) -> LoadRules:
    return LoadRules(**{"now": NOW, "hours": "extended", **changes})


def want(frame: Timeframe, number: int = 0, first: date = FIRST, last: date = LAST) -> Want:
    return Want(number, "AAPL", frame, Span(first, last))


def run(
    source: Massive,
    fetch: Fetch,
    chosen: LoadRules,
    staged: Sequence[CheckpointPage] = (),
    stop: Callable[[], bool] = lambda: False,
    keep: Callable[[CheckpointPages], None] = lambda pages: None,
) -> list[Loaded]:
    return run_fetch(fetch, source, chosen, staged, stop, keep)


@dataclass
class Scripted:
    """A server whose answers are written down: status, headers, body; the last one for every further call."""

    answers: list[tuple[int, dict[str, str], bytes]]
    paths: list[str] = field(default_factory=list)
    url: str = ""

    def next(self, path: str) -> tuple[int, dict[str, str], bytes]:
        self.paths.append(path)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def scripted(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[Scripted]:
    script = Scripted(list(answers))

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = script.next(self.path)
            body = body.replace(b"<url>", script.url.encode())
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value.replace("<url>", script.url))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its own name
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        script.url = f"http://127.0.0.1:{http_server.server_address[1]}"
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield script
        finally:
            http_server.shutdown()
            thread.join()


def answer(code: int = 200, /, **words: Any) -> tuple[int, dict[str, str], bytes]:
    return code, {}, json.dumps(words).encode()


def bars_answer(*bars: dict[str, Any], **words: Any) -> tuple[int, dict[str, str], bytes]:
    given = {"ticker": "AAPL", "adjusted": True, "resultsCount": len(bars), "results": bars, "status": "OK", **words}
    return answer(**given)


def ms(day: date, hour: int = 0, minute: int = 0) -> int:
    moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=EXCHANGE_ZONE)
    return round(moment.timestamp() * 1000)


def bar(t: Any = None, **changes: Any) -> dict[str, Any]:
    return {"t": ms(FIRST) if t is None else t, "o": 10.5, "h": 12, "l": 9, "c": 11, "v": 100.5, "vw": 10, **changes}
