"""Workers are killed between all steps by which a run is ended: it ends once, and as if nothing had happened."""

import os
from pathlib import Path

from harness import items_of, running_supervisor, start_run, wait_for_end, wait_until
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

# A worker that is killed before the entry leaves the queue has committed: nobody ends the run again, so the last step
# needs a run of its own.
REASON = "nobody has a key"
STEPS = (("lock", "fail", "count", "event", "leave"), ("complete",))


def test_a_run_ends_once_however_often_its_worker_is_killed_while_it_ends_it(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    left = tmp_path / "steps"
    path = os.pathsep.join([str(Path(__file__).parent / "killed_stops"), environment["PYTHONPATH"]])
    environment = environment | {"PYTHONPATH": path, "KILLED_STOPS": str(left)}

    def is_over() -> bool:
        backlog = streams.inspector.read_backlog("tests")
        left_there = (
            backlog.waiting + backlog.pending + backlog.delayed + len(streams.inspector.read_open_counts("tests"))
        )
        return not left.read_text(encoding="utf-8") and not left_there

    left.write_text("", encoding="utf-8")
    with running_supervisor(environment, tmp_path, "--processes", "1", "--queue", "tests"):
        for steps in STEPS:
            left.write_text(" ".join(steps), encoding="utf-8")
            run = start_run(connection, streams, registry, "misbehaving", "FAIL_RUN", max_attempts=10)
            assert wait_for_end(connection, run) == "FAILED"
            wait_until(is_over, 30, f"a worker was killed at each step of {steps}, and nothing is left in the queue")
            assert [(state, error) for state, _, error in items_of(connection, run).values()] == [("failed", REASON)]
            row = connection.execute(
                "SELECT status, reason, completed_count, failed_count, cancelled_count FROM runs WHERE id = %s",
                (run.id,),
            ).fetchone()
            assert row == ("FAILED", REASON, 0, 1, 0)
