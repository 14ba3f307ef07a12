"""The bot as a process: SIGKILL neither loses nor doubles a command, and what it costs to wait."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from bot_stage import ANN, BotStage
from harness import Bot, wait_until
from patience import patient
from streamworkers.alerts.store.alerts import list_alerts
from streamworkers.config import Settings
from streamworkers.database import Connection, fetch_value
from streamworkers.notifications.store.closing import CALL_LIFE
from streamworkers_fakes.telegram import DEFAULT_TOKEN, FakeBotApi, RunningFakeBotApi, running_fake_bot_api

MOST_MEGABYTES = 64
MOST_CPU = 0.01
CHATS = 6  # of ann: each gets a message a second at most


@pytest.fixture
def api() -> Iterator[RunningFakeBotApi]:
    """A fake Bot API without limits: they would decide how long the test takes."""
    with running_fake_bot_api(FakeBotApi(limits=None)) as server:
        yield server


@pytest.fixture
def bot_environment(environment: dict[str, str], api: RunningFakeBotApi) -> dict[str, str]:
    """The environment of a bot process."""
    return environment | {
        "STREAMWORKERS_TELEGRAM_TOKEN": DEFAULT_TOKEN,
        "STREAMWORKERS_TELEGRAM_URL": api.url,
        "PYTHONWARNINGS": "default",
    }


@pytest.fixture
def linked(connection: Connection, settings: Settings) -> BotStage:
    """Ann is linked with the bot of the fake, in several chats."""
    connection.execute("INSERT INTO users (id) VALUES ('ann')")
    stage = BotStage(connection, settings)
    for chat in range(CHATS):
        stage.link(ANN + chat)
    connection.execute("UPDATE telegram_links SET bot_id = %s", (int(DEFAULT_TOKEN.partition(":")[0]),))
    connection.execute("UPDATE deliveries SET state = 'sent'")
    return stage


def _start(environment: dict[str, str], folder: Path, number: int = 0) -> Bot:
    return Bot(environment, folder / f"bot-{number}.log", ["--metrics-port", "0"])


def _rules(connection: Connection) -> list[Any]:
    found = sorted(list_alerts(connection, "ann"), key=lambda each: each.id)
    return [each.document["rule"]["value"] for each in found]


def _wait_for_rules(connection: Connection, count: int) -> None:
    wait_until(lambda: len(_rules(connection)) >= count, what="some commands are executed")


def test_kills_neither_lose_nor_double_a_command(
    bot_environment: dict[str, str],
    api: RunningFakeBotApi,
    linked: BotStage,
    connection: Connection,
    tmp_path: Path,
) -> None:
    wanted, said, kills = 18, 0, 0
    deadline = time.monotonic() + patient(120)
    while (done := len(_rules(connection))) < wanted and time.monotonic() < deadline:
        # No process gets all of them, so that several are killed.
        for number in range(said, said := min(wanted, done + 8)):
            api.fake.say(f"/alert AAPL > {number + 1}", user=ANN + number % CHATS)
        # With one thread a kill interrupts one call at most.
        process = _start(bot_environment | {"STREAMWORKERS_DELIVER_THREADS": "1"}, tmp_path, kills)
        try:
            _wait_for_rules(connection, min(wanted, done + 5))
        finally:
            process.process.kill()
            process.process.wait()
        kills += 1
        # Nobody gives more than 20 commands a minute.
        connection.execute("UPDATE telegram_updates SET user_id = NULL")
    assert _rules(connection) == [number + 1 for number in range(wanted)], "each once, in their order"
    assert kills >= 3
    # What a dead process has left is left alone for a while, in case that it lives.
    connection.execute("UPDATE deliveries SET claimed_at = claimed_at - %s, not_before = now()", (CALL_LIFE,))
    with closing(_Running(_start(bot_environment, tmp_path, kills))):
        waiting = "SELECT count(*) FROM deliveries WHERE state <> 'sent'"
        wait_until(lambda: fetch_value(connection, waiting) == 0, 90, "each answer is sent")
    texts = [call.text for call in api.sent]
    titles = [str(text).split("\n")[0] for text in texts]
    ambiguous = fetch_value(connection, "SELECT sum(ambiguities) FROM deliveries")
    assert len(set(titles)) == wanted
    assert len(titles) - wanted <= ambiguous <= kills, "a second message only for one that was named ambiguous"


class _Running:
    """Ends a process with the block."""

    def __init__(self, process: Bot) -> None:
        self.process = process

    def close(self) -> None:
        """SIGKILL, if it still runs."""
        self.process.kill_all()


def test_it_answers_waits_cheaply_and_ends_in_order(
    bot_environment: dict[str, str],
    api: RunningFakeBotApi,
    linked: BotStage,
    connection: Connection,
    tmp_path: Path,
) -> None:
    process = _start(bot_environment | {"STREAMWORKERS_LEASE_SECONDS": "30"}, tmp_path)
    with closing(_Running(process)):
        url = process.metrics_url()
        api.fake.say("/alert AAPL rsi(14) < 30", user=ANN)
        api.fake.press("alert:show:1", user=ANN)
        api.fake.say("/start", user=999)
        for text in ("/stop", "/help"):
            api.fake.say(text, user=ANN + 1)
        wait_until(lambda: len(api.sent) == 5, what="all are answered, also where messages were stopped")
        titles = sorted(str(call.text).split(". ")[0].split("\n")[0] for call in api.sent)
        stopped = ["Commands", "No more messages to this chat"]
        assert titles == ["Alert 1", "Alert 1 added", *stopped, "This chat is not linked"]
        presses = [call.parameters for call in api.calls if call.method == "answerCallbackQuery"]
        assert [each["text"] for each in presses] == ["Alert 1"]
        assert _read(f"{url}/readyz") == "ok\n"
        assert 'streamworkers_telegram_updates_total{outcome="done"} 4.0' in _read(f"{url}/metrics")
        assert fetch_value(connection, "SELECT kind FROM processes") == "telegram"
        _require_cheap(psutil.Process(process.process.pid))
        assert process.stop() == 0
    assert fetch_value(connection, "SELECT count(*) FROM processes") == 0
    assert DEFAULT_TOKEN.partition(":")[2] not in process.log.read_text()


def _require_cheap(process: psutil.Process) -> None:
    """Little memory, no library of numbers, and hardly any CPU while nobody says anything."""
    assert process.memory_full_info().uss / 2**20 < MOST_MEGABYTES, "its own, without what processes share"
    loaded = {Path(each.path).name for each in process.memory_maps() if "site-packages" in each.path}
    assert loaded
    assert not [path for each in process.memory_maps() if (path := each.path) and ("numpy" in path or "talib" in path)]
    before, began = process.cpu_times(), time.monotonic()
    wait_until(lambda: time.monotonic() - began > 2, what="two seconds pass")
    after = process.cpu_times()
    share = (after.user + after.system - before.user - before.system) / (time.monotonic() - began)
    assert share < 3 * MOST_CPU  # of a noisy machine; benchmarks/telegram.py has the figure


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=patient(30)) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ("123456:wrong", "Telegram answered 401: Unauthorized: STREAMWORKERS_TELEGRAM_TOKEN is not the token of a bot"),
        ("nonsense", "STREAMWORKERS_TELEGRAM_TOKEN is not a bot's token, as 123456:ABC-DEF1234ghIkl"),
    ],
)
def test_a_bad_token_is_exit_code_78(bot_environment: dict[str, str], token: str, text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streamworkers", "telegram"],
        env=bot_environment | {"STREAMWORKERS_TELEGRAM_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )
    assert (done.returncode, done.stderr.strip().split("\n")[-1]) == (78, f"Error: {text}")
