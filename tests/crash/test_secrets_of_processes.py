"""Secrets of all kinds are given to a worker and a scheduler that log at debug: nothing that people read has one."""

import os
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from harness import Scheduler, running_supervisor, start_run, wait_for_end, wait_until
from outputs import Outputs
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import installed_jobs

MARK = "s3cr3t"
# Raises what drivers and HTTP clients raise; its own text has no secret, as stacks show lines of it.
_JOB = """
import os
from streamworkers import Job, JobParameters

class Leaking(Job[JobParameters]):
    name = "leaking"
    queue = "tests"
    Parameters = JobParameters

    def execute(self, items, context):
        own = os.environ["LEAKS"]
        try:
            raise OSError(f"no route to postgresql://desk:{own}@db.example.com/x, password={own}")
        except OSError as error:
            raise ValueError(f"Authorization: Bearer {own}, api_key='{own}', {{'token': '{own}'}}") from error

    def save(self, connection, completed):
        return ()
"""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what a test starts."""
    with ExitStack() as own:
        yield own


@pytest.fixture
def leaking(environment: dict[str, str], settings: Settings, tmp_path: Path) -> dict[str, str]:
    """An environment with a job of its own, and secrets in every setting that can hold one."""
    found = tmp_path / "leaking-0.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: leaking\nVersion: 0\n", encoding="utf-8")
    (found / "entry_points.txt").write_text("[streamworkers.jobs]\nleaking = leaking:Leaking\n", encoding="utf-8")
    (tmp_path / "leaking.py").write_text(_JOB, encoding="utf-8")
    assert settings.redis_url is not None
    assert settings.database_url is not None
    socket = urllib.parse.urlsplit(settings.redis_url.get_secret_value()).path
    return environment | {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{environment['PYTHONPATH']}",
        "LEAKS": MARK,
        "STREAMWORKERS_LOG_LEVEL": "debug",
        "STREAMWORKERS_REDIS_URL": f"unix://default:{MARK}@{socket}",
        "STREAMWORKERS_DATABASE_URL": make_conninfo(settings.database_url.get_secret_value(), password=MARK),
        "STREAMWORKERS_MASSIVE_API_KEY": f"{MARK}-key",
        "STREAMWORKERS_MASSIVE_PROXY": f"http://desk:{MARK}@127.0.0.1:1",
        "STREAMWORKERS_TELEGRAM_TOKEN": f"123456:{MARK}-token",
        "STREAMWORKERS_SMTP_PASSWORD": f"{MARK}-password",
    }


def test_no_secret_of_a_worker_or_a_scheduler_is_shown(
    stack: ExitStack, leaking: dict[str, str], connection: Connection, streams: Streams, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for folder in leaking["PYTHONPATH"].split(os.pathsep):
            patch.syspath_prepend(folder)
        registry = installed_jobs()
    words = ("--processes", "1", "--metrics-port", "0")
    pool = stack.enter_context(running_supervisor(leaking, tmp_path, *words))
    scheduler = Scheduler(leaking, tmp_path / "scheduler.log", ("--metrics-port", "0"))
    stack.callback(scheduler.kill_all)
    failed = start_run(connection, streams, registry, "leaking", "A", max_attempts=1)
    killed = start_run(connection, streams, registry, "misbehaving", "SIGKILL", max_attempts=1)
    start_run(connection, streams, registry, "load_ohlcv", "AAPL", parameters={"provider": "massive", "years": 1})
    for run in (failed, killed):
        wait_for_end(connection, run, 60)
    wait_until(lambda: pool.events("worker_ended"), what="the death of the worker is logged")
    wait_until(lambda: pool.events("provider_away"), what="the provider is away behind its proxy")
    outputs = Outputs([pool, scheduler], connection, streams)
    assert outputs.places_of(MARK) == set()
    # The controls: what hides them has met them, and each kind of place is searched.
    [(error, stack_of_it)] = connection.execute(
        "SELECT error, history::text FROM run_items WHERE run_id = %s", (failed.id,)
    ).fetchall()
    assert "Authorization: …" in error
    assert "postgresql://…@db.example.com" in stack_of_it
    leak = f"{streams.keys.prefix}:leak"
    connection.execute("UPDATE runs SET reason = %s WHERE id = %s", (MARK, failed.id))
    streams.client.raw.hset(leak, "of", MARK)
    assert outputs.places_of(MARK) == {"runs", "redis"}
    streams.client.raw.delete(leak)
    assert outputs.places_of("scheduler_started") == {"log"}
    assert "ps" in outputs.places_of("--processes")
    assert "metrics" in outputs.places_of("streamworkers_workers{")
