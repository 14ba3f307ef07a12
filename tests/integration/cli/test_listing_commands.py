"""`listings`: people set when a symbol was delisted, where no provider says so."""

from pathlib import Path
from typing import Any

import pytest

from alert_stage import AlertStage, before_day, session_days
from command_line import Run
from consumer import Consumer
from scheduler.alert_blindness import AlertBlindness
from streamworkers.database import Connection, Pool
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

LAST = session_days()[1]


@pytest.fixture
def stage(
    cli: Run, connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, tmp_path: Path
) -> AlertStage:
    """An alert about a symbol whose bars came from a file, up to `LAST`."""
    stage = AlertStage(connection, streams, registry, consumer)
    stage.add("price > 100", name="one")
    assert _import(cli, tmp_path, 0, 1).code == 0
    return stage


def _import(cli: Run, folder: Path, *places: int) -> Any:
    file = folder / "bars.csv"
    rows = [f"AAA,{session_days()[place]},99,99,99,99,1" for place in places]
    file.write_text("\n".join(["symbol,date,open,high,low,close,volume", *rows]), encoding="utf-8")
    return cli("bars", "import", str(file))


def _notices(stage: AlertStage) -> list[str]:
    return [each["type"] for each in stage.events("streamworkers:notify")]


def test_an_alert_about_bars_from_a_file_ends_once_when_the_end_is_set(
    stage: AlertStage, cli: Run, pool: Pool, tmp_path: Path
) -> None:
    service = AlertBlindness(pool, "XNYS")
    service.look(stage.connection, before_day(9))
    assert _notices(stage) == ["alert_blind"]
    answer = cli("listings", "set", "AAA", "--delisted-after", str(LAST))
    assert (answer.code, answer.out) == (0, f"AAA: delisted after {LAST}\n")
    for place in (9, 10, 60):
        service.look(stage.connection, before_day(place))
    assert _notices(stage) == ["alert_blind", "alert_ended"]
    assert [
        (row["symbol"], row["delisted_after"], row["source"]) for row in cli("listings", "list", "--json").json
    ] == [("AAA", str(LAST), "set")]
    assert "ended" in cli("alerts", "show", "one").out
    # Bars after it say that it was none.
    assert "AAA" in _import(cli, tmp_path, 5).err
    assert cli("listings", "list", "AAA").out == "no listing is known\n"
    service.look(stage.connection, before_day(6))
    assert _notices(stage)[2:] == ["alert_sees_again"]


def test_what_is_set_is_forgotten_and_one_day_does_not_forget_the_other(cli: Run, connection: Connection) -> None:
    assert cli("listings", "set", "OLD", "GONE", "--delisted-after", "2025-10-31").out == (
        "2 symbols: delisted after 2025-10-31\n"
    )
    assert cli("listings", "set", "OLD", "--from", "2020-01-02").code == 0
    (row,) = cli("listings", "list", "OLD", "--json").json
    assert (row["listed_from"], row["delisted_after"]) == ("2020-01-02", "2025-10-31")
    assert cli("listings", "unset", "OLD", "NONE").out == "forgotten: 1 of 2\n"
    assert connection.execute("SELECT symbol FROM listings").fetchall() == [("GONE",)]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("set", "AAA"), "name --delisted-after, --from or both"),
        (
            ("set", "AAA", "--from", "2025-10-31", "--delisted-after", "2025-10-30"),
            "--delisted-after 2025-10-30 is before --from 2025-10-31",
        ),
        (
            ("set", "AAA", "--delisted-after", "2020-01-02"),
            f"day bars of AAA are stored up to {LAST}, after 2020-01-02",
        ),
        (("set", "A A", "--delisted-after", "2020-01-02"), "'A A'"),
    ],
)
def test_what_cannot_be_is_rejected(words: tuple[str, ...], error: str, stage: AlertStage, cli: Run) -> None:
    answer = cli("listings", *words)
    assert answer.code == 2
    assert error in answer.err
    assert stage.connection.execute("SELECT count(*) FROM listings").fetchone() == (0,)
