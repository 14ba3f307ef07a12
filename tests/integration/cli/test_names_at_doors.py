"""A name that breaks the rule of its kind is the same error at every way into the product, and stores nothing."""

import csv
import io
import json
import secrets
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from api_stage import ApiStage, running_api
from command_line import Run as Command
from harness import ServiceUrls
from scheduler.message import parse_message
from services import environment_of
from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.client import Client
from streamworkers.engine.job import Job
from streamworkers.engine.registry import Registry
from streamworkers.errors import StreamworkersError
from streamworkers.names import RULES, NameKind, find_name_error
from streamworkers.notifications.notification import parse_notification
from streamworkers.rules.market_vocabulary import MarketVocabulary
from streamworkers.symbols import find_symbol_error
from streamworkers.telegram.grammar import parse_command

WRONG = (
    *("../../etc/passwd", "A,B", "$(id)", "\uff21\uff21\uff30\uff2c", "a\x07b", "a\u200fb", "x" * 300, "", " a", "-a"),
    *("a\0b", "e\u0301", "a\nb", "AaBb"),
)
COUNTED = (
    *("runs", "users", "alerts", "endpoints", "api_tokens", "definition_groups", "group_memberships", "schedules"),
    *("indicator_definitions", "pattern_definitions", "ohlcv_daily", "listings", "symbol_calendars", "outbox"),
)


@dataclass(frozen=True)
class Stage:
    """All ways in, on one database."""

    api: ApiStage
    cli: Command
    folder: Path

    def command(self, *words: str) -> str:
        """What a command answers that is to fail; one that reads a file goes on, and names the rows."""
        answer = self.cli(*words)
        return answer.out + answer.err

    def request(self, method: str, path: str, body: dict[str, Any], user: str = "ann") -> str:
        """What the API answers to a request that is to fail."""
        headers = {"If-Match": "*", "Idempotency-Key": secrets.token_hex(8)}
        answer = self.api.call(method, f"/api/v1{path}", user, json=body, headers=headers)
        return str(answer.json().get("detail", answer.text))

    def write(self, name: str, text: str) -> str:
        """A file."""
        (self.folder / name).write_text(text, encoding="utf-8", newline="")
        return name


Door = Callable[[Stage, str], str]


def _caught(call: Callable[[], object]) -> str:
    """The error of a call, as its caller reads it."""
    try:
        return f"nothing is raised: {call()!r}"
    except psycopg.Error as error:
        return str(error.diag.message_primary)
    except StreamworkersError as error:
        return str(error)


def _submit(stage: Stage, **fields: Any) -> str:
    request = Jsonb({"job": "ledger_entry", **fields})
    return _caught(lambda: stage.api.connection.execute("SELECT * FROM submit_run(%s)", (request,)))


def _enqueue(stage: Stage, **fields: Any) -> str:
    url = stage.api.settings.database_url
    assert url is not None
    with Client(url.get_secret_value()) as client:
        return _caught(lambda: client.enqueue("ledger_entry", **{"symbols": ["A"], **fields}))


def _csv(stage: Stage, command: str, header: str, *row: object) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows((header.split(","), row))
    return stage.command(command, "import", stage.write("given.csv", text.getvalue()))


def _alert(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "rule": {"indicator": "price", "operator": ">", "value": 1},
        "timeframe": "day",
        "ticker": "A",
        "name": name,
        **fields,
    }


def _import_alert(stage: Stage, name: str, **fields: Any) -> str:
    return stage.command("alerts", "import", stage.write("alerts.json", json.dumps(_alert(name, **fields))))


def _registered(**members: Any) -> str:
    body = {"name": "one", "execute": lambda *_: [], "__annotations__": {}, **members}
    made: type[Job[Any]] = type("Made", (Job,), body)
    return _caught(lambda: Registry([made()]))


def _notified(**members: Any) -> str:
    payload = {"user_id": "local", "type": "message", "dedup_key": "k", **members}
    return _caught(lambda: parse_notification(UUID(int=0), payload, datetime.now(UTC)))


def _message(**fields: Any) -> str:
    raw = json.dumps({"event_type": "data_load_complete", "symbols": ["A"], **fields}).encode()
    return _caught(lambda: parse_message(raw))


_SCHEDULE = {"name": "mine", "job": "ledger_entry", "cron": "0 3 * * *", "target": {"symbols": ["A"]}}
# Ways in that take a list, or whose form takes blanks away, cannot be given every wrong name.
DOORS: dict[str, dict[str, Door]] = {
    "symbol": {
        "bars import": lambda s, n: _csv(
            s, "bars", "symbol,date,open,high,low,close,volume", n, "2026-01-02", 1, 1, 1, 1, 1
        ),
        "universes import": lambda s, n: _csv(s, "universes", "universe,symbol", "mine", n),
        "listings set": lambda s, n: s.command("listings", "set", "--delisted-after", "2026-01-02", "--", n),
        "bars announce": lambda s, n: s.command("bars", "announce", "--", n),
        "results": lambda s, n: s.command("results", "show", "--", n),
        "POST /runs": lambda s, n: s.request("POST", "/runs", {"job": "ledger_entry", "symbols": [n]}),
        "POST /alerts": lambda s, n: s.request("POST", "/alerts", {"alert": _alert("a", ticker=n)}),
        "PUT /universes": lambda s, n: s.request("PUT", "/universes/mine", {"symbols": [n]}, "root"),
        "POST /schedules": lambda s, n: s.request("POST", "/schedules", {**_SCHEDULE, "target": {"symbols": [n]}}),
        "submit_run": lambda s, n: _submit(s, symbols=[n]),
        "client": lambda s, n: _enqueue(s, symbols=[n]),
        "message": lambda s, n: _message(symbols=[n]),
        "telegram": lambda s, n: _caught(lambda: parse_command(f"/chart {n}", MarketVocabulary([], []))),
    },
    "universe": {
        "universes import": lambda s, n: _csv(s, "universes", "universe,symbol", n, "A"),
        "bars sample": lambda s, n: s.command("bars", "sample", f"--universe={n}"),
        "enqueue": lambda s, n: s.command("enqueue", "ledger_entry", f"--universe={n}"),
        "alerts add": lambda s, n: s.command("alerts", "add", "price > 1 day", f"--universe={n}"),
        "PUT /universes": lambda s, n: s.request("PUT", f"/universes/{quote(n)}", {"symbols": ["A"]}, "root"),
        "POST /runs": lambda s, n: s.request("POST", "/runs", {"job": "ledger_entry", "universe": f"sp500:{n}"}),
        "POST /schedules": lambda s, n: s.request("POST", "/schedules", {**_SCHEDULE, "target": {"universe": n}}),
        "submit_run": lambda s, n: _submit(s, universe=f"sp500:{n}"),
        "client": lambda s, n: _enqueue(s, symbols=None, universe=n),
    },
    "user": {
        "users add": lambda s, n: s.command("users", "add", "--", n),
        "tokens create": lambda s, n: s.command("tokens", "create", "desk", "--scope=read", f"--user={n}"),
        "schedules add": lambda s, n: s.command(
            *("schedules", "add", "mine", "--job=ledger_entry", "--symbols=A", "--cron=@daily", f"--user-id={n}")
        ),
        "schedules import": lambda s, n: s.command(
            "schedules", "import", s.write("s.yaml", json.dumps([{**_SCHEDULE, "user_id": n}]))
        ),
        "POST /users": lambda s, n: s.request("POST", "/users", {"user": n}, "root"),
        "POST /tokens": lambda s, n: s.request("POST", "/tokens", {"name": "t", "user": n, "scopes": ["read"]}, "root"),
        "submit_run": lambda s, n: _submit(s, symbols=["A"], user=n),
        "client": lambda s, n: _enqueue(s, user=n),
        "message, requested_by": lambda s, n: _message(requested_by=n),
    },
    "schedule": {
        "schedules add": lambda s, n: s.command("schedules", "add", "--job=ledger_entry", "--cron=@daily", "--", n),
        "schedules add --after": lambda s, n: s.command(
            *("schedules", "add", "mine", "--job=ledger_entry", "--symbols=A", "--cron=@daily", f"--after={n}")
        ),
        "schedules import": lambda s, n: s.command(
            "schedules", "import", s.write("s.yaml", json.dumps([{**_SCHEDULE, "name": n}]))
        ),
        "POST /schedules": lambda s, n: s.request("POST", "/schedules", {**_SCHEDULE, "name": n}),
    },
    "token": {
        "tokens create": lambda s, n: s.command("tokens", "create", "--scope=read", "--", n),
        "POST /tokens": lambda s, n: s.request("POST", "/tokens", {"name": n, "user": "u", "scopes": ["read"]}, "root"),
    },
    "alert": {
        "alerts add": lambda s, n: s.command("alerts", "add", "AAPL > 1 day", f"--name={n}"),
        "alerts import": lambda s, n: _import_alert(s, n),
        "POST /alerts": lambda s, n: s.request("POST", "/alerts", {"alert": "AAPL > 1 day", "name": n}),
    },
    "group": {
        "alerts import": lambda s, n: _import_alert(s, "one", notify={"group": n}),
        "POST /alerts": lambda s, n: s.request("POST", "/alerts", {"alert": _alert("a", notify={"group": n})}),
    },
    "channel": {
        "alerts import": lambda s, n: _import_alert(s, "one", notify={"channels": [n]}),
        "POST /alerts": lambda s, n: s.request("POST", "/alerts", {"alert": _alert("a", notify={"channels": [n]})}),
    },
    "endpoint": {
        "endpoints add": lambda s, n: s.command("endpoints", "add", "mail", "me@example.org", f"--name={n}"),
        "POST /endpoints": lambda s, n: s.request(
            "POST", "/endpoints", {"channel": "mail", "address": "me@example.org", "name": n}
        ),
    },
    "type": {
        "notify": lambda s, n: s.command("notify", "local", "text", f"--type={n}"),
        "POST /notify": lambda s, n: s.request("POST", "/notify", {"text": "text", "type": n, "key": "k"}),
        "event": lambda s, n: _notified(type=n),
    },
    "indicator": {
        "indicators add": lambda s, n: s.command("indicators", "add", "--", n, "RSI"),
        "row": lambda s, n: _caught(lambda: IndicatorDefinition(n, "RSI")),
    },
    "pattern": {"row": lambda s, n: _caught(lambda: PatternDefinition(n, "CDLDOJI"))},
    "job": {"class": lambda s, n: _registered(name=n), "submit_run": lambda s, n: _submit(s, job=n, symbols=["A"])},
    "queue": {"class": lambda s, n: _registered(queue=n)},
}
# What the forms around a name say of it before anybody looks at names: JSON, PostgreSQL, and the schema of alerts.
FORMS = {
    "a\0b": ("NUL", "unsupported Unicode escape", "a character that cannot be stored"),
    "": ("is shorter than 1 characters",),
    "x" * 300: ("has 300 characters, more than 100", "200 characters"),
}
# What cannot be written at a way in: its own separators, what it takes away, and what begins an option.
LEFT_OUT = {
    "telegram": "\0\a\n \u200f\u202e",
    "PUT /universes": "\0/ ",
    "universes import": "\n\0",
    "bars import": "\n\0",
}
KINDS_IN_SQL: tuple[NameKind, ...] = ("job", "universe", "user")
NEVER_EMPTY = ("telegram", "PUT /universes", "message, requested_by")


@pytest.fixture(scope="module")
def api(service_urls: ServiceUrls, registry: Registry) -> Iterator[ApiStage]:
    with running_api(service_urls, f"test-{secrets.token_hex(6)}", registry) as stage:
        yield stage


@pytest.fixture
def stage(api: ApiStage, bare_cli: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    for name, value in environment_of(api.settings).items():
        if name.startswith("STREAMWORKERS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(environment_of(api.settings)["PYTHONPATH"])
    return Stage(api, bare_cli, tmp_path)


def _can_be_given(door: str, name: str) -> bool:
    return bool(name or door not in NEVER_EMPTY) and not set(LEFT_OUT.get(door, "")).intersection(name)


def _find_error(kind: Any, name: str) -> str | None:
    if kind == "symbol":
        return find_symbol_error(name)
    if kind == "schedule":  # its field and value stand before the rule
        return None if find_name_error(kind, name) is None else RULES[kind].text
    return find_name_error(kind, name.strip() if kind == "universe" else name)


def _count(stage: Stage) -> dict[str, int]:
    counts = (sql.SQL("(SELECT count(*) FROM {})").format(sql.Identifier(table)) for table in COUNTED)
    row = stage.api.connection.execute(sql.SQL("SELECT {}").format(sql.SQL(", ").join(counts))).fetchone()
    assert row is not None
    return dict(zip(COUNTED, row, strict=True))


@pytest.mark.parametrize(("kind", "door"), [(kind, door) for kind, doors in DOORS.items() for door in doors])
def test_a_wrong_name_is_the_same_error_at_every_door(kind: Any, door: str, stage: Stage) -> None:
    wrong = {name: error for name in WRONG if _can_be_given(door, name) and (error := _find_error(kind, name))}
    before, others = _count(stage), {}
    for name, error in wrong.items():
        answer = " ".join(DOORS[kind][door](stage, name).split())
        if error not in answer and not any(words in answer for words in FORMS.get(name, ())):
            others[name] = answer
    assert others == {}
    assert len(wrong) > 5
    assert _count(stage) == before


def test_postgresql_words_a_wrong_name_as_python_does(api: ApiStage) -> None:
    unseen = [
        f"a{chr(code)}b"
        for code in range(1, 0x10000)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Co", "Zl", "Zp", "Zs") and not chr(code).isprintable()
    ]
    names = [
        *WRONG,
        *unseen[::7],
        *unseen[:80],
        "it's",
        "a\\",
        "x" * 64,
        "x" * 65,
        "\u0301a",
        "J\xfcrgen",
        "\U0001f600",
        "a/b@c",
    ]
    asked = [(kind, name) for kind in KINDS_IN_SQL for name in names if "\0" not in name]
    kinds, texts = zip(*asked, strict=True)
    rows = api.connection.execute(
        "SELECT find_name_error(kind, name)"
        " FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS n (kind, name, place) ORDER BY place",
        (list(kinds), list(texts)),
    )
    assert [error for (error,) in rows] == [find_name_error(kind, name) for kind, name in asked]
    rows = api.connection.execute(
        "SELECT find_items_error(jsonb_build_array(item), 'symbols', 'symbol') FROM unnest(%s::text[])"
        " WITH ORDINALITY AS n (item, place) ORDER BY place",
        (list(texts),),
    )
    assert [error for (error,) in rows] == [find_symbol_error(text) for text in texts]
