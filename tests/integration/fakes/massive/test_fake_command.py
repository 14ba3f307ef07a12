"""`streamworkers fake-massive`: a process that says where it is, and ends when it is told to."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import pytest

from patience import patient
from streamworkers.cli.main import main
from streamworkers.errors import ServiceUnreachableError
from streamworkers_fakes.massive import KINDS, FakeMassive, fake_massive_process, parse_split

COMMAND = [sys.executable, "-W", "error", "-m", "streamworkers", "fake-massive"]


def test_the_process_prints_its_url_and_ends_with_0_on_sigterm(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    words = [
        "--seed", "5", "--symbols", "KO, V", "--unknown", "XXXX", "--listed-from", "V:2025-11-25",
        "--api-key", "sesame", "--split", "KO:2025-11-26:1:2", "--now", "2025-11-28T12:00-05:00",
        "--extended-share", "0.5", "--latency-ms", "1", "--calls-per-minute", "50", "--log", str(log),
        "--misbehave", "timeout=3600,ticker=V", "--misbehave", "server_error=503,calls=1",
    ]  # fmt: skip
    process = subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        path = "/v2/aggs/ticker/KO/range/1/day/2025-11-24/2025-11-25"
        with httpx.Client(base_url=url, headers={"Authorization": "Bearer sesame"}) as client:
            assert [client.get(path).status_code for _ in range(2)] == [503, 200]
            rows = client.get(path).json()["results"]
            with pytest.raises(httpx.ReadTimeout):
                client.get(path.replace("KO", "V"), timeout=0.1)
    finally:
        process.terminate()
        out, err = process.communicate(timeout=patient(30))
    assert (process.returncode, out, err) == (0, "", "")
    market = FakeMassive(seed=5, extended_share=0.5, splits=[parse_split("KO:2025-11-26:1:2")]).market
    assert [row["v"] for row in rows] == [
        market.days("KO", day, day, adjusted=True).volume[0] for day in market.sessions(*_days(rows))
    ]
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(call["status"], call["misbehaviour"]) for call in calls] == [
        (503, "server_error"), (200, None), (200, None), (200, "timeout"),
    ]  # fmt: skip
    assert "sesame" not in log.read_text()


def _days(rows: list[dict[str, int]]) -> tuple[date, date]:
    first, last = (datetime.fromtimestamp(rows[place]["t"] / 1000, UTC).date() for place in (0, -1))
    return first, last


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--symbols", " , "], "--symbols ' , ' names no symbol"),
        (["--listed-from", "2025-11-25"], "--listed-from '2025-11-25' is not SYMBOL:YYYY-MM-DD"),
        (["--listed-from", "V:soon"], "--listed-from 'V:soon' is not SYMBOL:YYYY-MM-DD"),
        (["--now", "noon"], "--now 'noon' is not a moment, as 2025-11-28T12:00-05:00"),
        (["--now", "2025-11-28T12:00"],
         "now 2025-11-28T12:00:00 has no offset from UTC; write it as 2025-11-28T12:00:00+00:00"),
        (["--split", "V"], "split 'V' is not TICKER:YYYY-MM-DD:FROM:TO, as AAPL:2025-06-10:1:4"),
        (["--misbehave", "time_out"], "no misbehaviour is named 'time_out'; did you mean 'timeout'?"),
        (["--api-key", ""], "api_keys must be one key or more, and none of them empty"),
        (["--log", "no/such/folder"], "log 'no/such/folder' cannot be written: No such file or directory"),
    ],
)  # fmt: skip
def test_a_command_that_breaks_a_rule_ends_with_2_and_says_which(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fake-massive", *words])
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert printed.out == ""
    assert " ".join(printed.err.split()).removeprefix("Error: ") == message


def test_its_help_names_every_misbehaviour(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fake-massive", "--help"])
    words = capsys.readouterr().out.split()
    assert set(KINDS) <= set(words)


def test_a_process_for_measurements_serves_until_the_end_of_its_block() -> None:
    with fake_massive_process("--seed", "2") as url:
        assert httpx.get(f"{url}/healthz").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")


def test_a_process_that_does_not_start_is_told() -> None:
    with pytest.raises(ServiceUnreachableError) as raised, fake_massive_process("--misbehave", "nothing"):
        pass
    assert str(raised.value) == "the fake Massive API ended with exit code 2"
