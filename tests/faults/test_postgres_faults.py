"""PostgreSQL restarts, rejects, hangs, fills up and loses connections in the middle of a run; no attempt is spent."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest

from faults.faulty_pool import DATABASE, LEASE_SECONDS, OUTAGE_SECONDS, ROLE, FaultyPool, assert_for
from harness import effects_of, wait_until
from patience import patient
from streamworkers.admin import workers as admin
from streamworkers.admin.workers import SupervisorOrder

pytestmark = pytest.mark.timeout(300)
Outage = Callable[[FaultyPool], AbstractContextManager[None]]
TROUBLE = "CREATE TABLE trouble (sqlstate text); CREATE SEQUENCE tries"
RAISE_TROUBLE = """
    CREATE FUNCTION raise_trouble() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    DECLARE
        code text := (SELECT sqlstate FROM trouble);
    BEGIN
        -- A server that is full or ends takes no failure of an item either.
        IF code IS NULL OR (TG_TABLE_NAME <> 'effects' AND code !~ '^5[37]') THEN
            RETURN NEW;
        END IF;
        PERFORM nextval('tries');
        RAISE EXCEPTION 'trouble' USING ERRCODE = code;
    END $$;
    CREATE TRIGGER raise_trouble BEFORE INSERT ON effects FOR EACH ROW EXECUTE FUNCTION raise_trouble();
    CREATE TRIGGER raise_trouble BEFORE UPDATE ON run_items FOR EACH ROW
    WHEN (NEW.status <> 'completed') EXECUTE FUNCTION raise_trouble();
"""
SLOW_SYMBOL = "S0020"
# The commit goes on when there is a row in `waited`, and makes one when somebody waits for what it has locked.
PAUSE_AT_COMMIT = f"""
    CREATE TABLE waited (symbol text);
    CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        FOR turn IN 1 .. TG_ARGV[0]::int LOOP
            PERFORM pg_sleep(0.02), pg_stat_clear_snapshot();
            IF EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = '{ROLE}') THEN
                INSERT INTO waited VALUES (NEW.symbol);
            END IF;
            EXIT WHEN EXISTS (SELECT FROM waited);
        END LOOP;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER pause_at_commit AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.symbol = '{SLOW_SYMBOL}') EXECUTE FUNCTION pause(1000);
"""


def _stop(pool: FaultyPool) -> None:
    pool.services.postgres.stop()


def _kill(pool: FaultyPool) -> None:
    process = pool.services.postgres.process()
    assert process is not None
    process.kill()
    wait_until(lambda: pool.services.postgres.process() is None, what="PostgreSQL is dead")


@pytest.mark.parametrize("end", [_stop, _kill])
def test_postgres_restarts(pool: FaultyPool, end: Callable[[FaultyPool], None]) -> None:
    run = pool.start_run()
    pool.wait_for_completed(run, 40)
    end(pool)
    pool.services.postgres.start()
    pool.reconnect()
    pool.assert_nothing_lost(run)


@pytest.mark.parametrize("end", [_stop, _kill])
def test_an_order_that_no_supervisor_has_read_is_applied_after_a_restart(
    pool: FaultyPool, end: Callable[[FaultyPool], None]
) -> None:
    run = pool.start_run()
    pool.wait_for_completed(run, 40)
    pid = pool.supervisor.process.pid
    (record,) = [each for each in admin.list_supervisors(pool.connection) if each.pid == pid]
    pool.postgres.reject()
    order = admin.order_supervisor(pool.connection, record, "resize", processes=3, reason="a test")
    assert _answer(pool, order, 0.0)[0] != "yes"
    end(pool)
    pool.services.postgres.start()
    pool.reconnect()
    assert _answer(pool, order, 0.0)[0] != "yes"
    pool.postgres.resume()
    assert _answer(pool, order) == ("yes", "resized to 3: 3 of 3 workers are ready")
    pool.assert_nothing_lost(run)
    order = admin.order_supervisor(pool.connection, record, "resize", processes=2, reason="a test")
    assert _answer(pool, order)[0] == "yes"


def _answer(pool: FaultyPool, order: SupervisorOrder, seconds: float = 60.0) -> tuple[str, str]:
    (answer,) = admin.wait_for_orders(pool.connection, [order], patient(seconds))
    return answer.answer, answer.text


def _terminate_backends(pool: FaultyPool) -> None:
    pool.connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (ROLE,))


def _cut_connections(pool: FaultyPool) -> None:
    pool.postgres.cut()


@pytest.mark.parametrize("lose", [_terminate_backends, _cut_connections])
def test_connections_are_lost_several_times(pool: FaultyPool, lose: Callable[[FaultyPool], None]) -> None:
    run = pool.start_run()
    for done in (40, 80, 120):
        pool.wait_for_completed(run, done)
        lose(pool)
    pool.assert_nothing_lost(run)


def test_connections_are_cut_in_the_middle_of_replies(pool: FaultyPool) -> None:
    for run in pool.cut_replies(pool.postgres, until=lambda: bool(pool.events("store_fault"))):
        pool.assert_nothing_lost(run)


@contextmanager
def _rejected(pool: FaultyPool) -> Iterator[None]:
    pool.postgres.reject()
    yield
    pool.postgres.resume()


@contextmanager
def _black_hole(pool: FaultyPool) -> Iterator[None]:
    pool.postgres.hang()
    yield
    pool.postgres.resume()


@contextmanager
def _read_only(pool: FaultyPool) -> Iterator[None]:
    pool.connection.execute(f"ALTER DATABASE {DATABASE} SET default_transaction_read_only = on")
    _terminate_backends(pool)
    try:
        yield
    finally:
        pool.connection.execute(f"ALTER DATABASE {DATABASE} RESET default_transaction_read_only")


@contextmanager
def _too_many_connections(pool: FaultyPool) -> Iterator[None]:
    pool.connection.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT 0")
    _terminate_backends(pool)
    try:
        yield
    finally:
        pool.connection.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")


@pytest.mark.parametrize("outage", [_rejected, _black_hole, _read_only, _too_many_connections])
def test_postgres_is_away_for_longer_than_a_lease(pool: FaultyPool, outage: Outage) -> None:
    with ExitStack() as stack:
        run = pool.start_run_to_meet(200, 40, lambda: stack.enter_context(outage(pool)))
        wait_until(lambda: _is_told(pool), 30, "the probes have noticed")
        wait_until(lambda: len(pool.idle_ms()) >= 2, 30, "both workers have something in hand")
        done = pool.completed(run)
        with pool.no_spinning():
            assert_for(OUTAGE_SECONDS, lambda: _are_kept(pool), "leases are renewed")
        assert _is_told(pool)
        assert done == pool.completed(run) < 200
    pool.assert_nothing_lost(run)
    assert pool.events("entries_reclaimed") == []
    wait_until(lambda: pool.probe("/readyz")[0] == 200, 30, "the pool is ready again")


@pytest.fixture
def trouble(pool: FaultyPool) -> Iterator[None]:
    """A trigger that raises the SQLSTATE in the table `trouble` while there is one, where effects are saved."""
    pool.connection.execute(TROUBLE)
    pool.connection.execute(RAISE_TROUBLE)
    yield
    pool.connection.execute("DROP FUNCTION raise_trouble CASCADE")
    pool.connection.execute("DROP TABLE trouble; DROP SEQUENCE tries")


@pytest.mark.usefixtures("trouble")
@pytest.mark.parametrize(
    ("code", "kind", "answer"),
    [
        ("53100", "full", "PostgreSQL is full: DiskFull: trouble: free disk space for PostgreSQL"),
        ("53200", "full", "PostgreSQL is full: OutOfMemory: trouble: give PostgreSQL more memory, or"),
        ("57P02", "away", "PostgreSQL cannot work now: CrashShutdown: trouble"),
    ],
)
def test_saving_fails_for_a_reason_that_passes(pool: FaultyPool, code: str, kind: str, answer: str) -> None:
    insert = "INSERT INTO trouble VALUES (%s)"
    run = pool.start_run_to_meet(200, 40, lambda: pool.connection.execute(insert, (code,)))
    wait_until(lambda: _tries(pool) >= 6, 60, "the workers try several times")
    wait_until(lambda: len(pool.waiting_workers()) == 2, 30, "both workers have logged it")
    assert {event["kind"] for event in pool.events("store_fault")} == {kind}
    assert all(event["error"].startswith(answer) for event in pool.events("store_fault"))
    wait_until(lambda: answer in pool.probe("/readyz")[1], 30, "the probe says why")
    with pool.no_spinning():
        assert_for(LEASE_SECONDS / 2, lambda: _are_kept(pool), "leases are renewed")
    pool.connection.execute("DELETE FROM trouble")
    pool.assert_nothing_lost(run)


@pytest.mark.usefixtures("trouble")
@pytest.mark.parametrize("code", ["23514", "40001", "40P01", "55P03"])
def test_saving_fails_for_a_reason_of_its_own(pool: FaultyPool, code: str) -> None:
    pool.connection.execute("INSERT INTO trouble VALUES (%s)", (code,))
    pool.start_run(20)
    wait_until(lambda: pool.events("item_failed") or pool.events("save_split"), 30, "the items pay")
    pool.connection.execute("DELETE FROM trouble")
    wait_until(lambda: pool.unfinished_runs() == 0, 60, "the run ends")
    assert pool.events("store_fault") == []


@pytest.fixture
def pause_at_commit(pool: FaultyPool) -> Iterator[None]:
    """A trigger that holds the commit of one item up."""
    pool.connection.execute(PAUSE_AT_COMMIT)
    yield
    pool.connection.execute("DROP TRIGGER pause_at_commit ON effects")
    pool.connection.execute("DROP FUNCTION pause")
    pool.connection.execute("DROP TABLE waited")


@pytest.mark.usefixtures("pause_at_commit")
def test_a_commit_is_waited_for_whose_connection_was_lost_while_it_was_under_way(pool: FaultyPool) -> None:
    run = pool.start_run(60)
    wait_until(lambda: _is_committing(pool), 60, "the slow commit is under way")
    pool.postgres.cut()
    pool.assert_nothing_lost(run)
    waited = pool.connection.execute("SELECT symbol FROM waited").fetchall()
    assert waited == [(SLOW_SYMBOL,)], "its items were tried again before it was over"


@pytest.mark.usefixtures("pause_at_commit")
def test_a_commit_that_nobody_heard_of_is_found_in_the_ledger(pool: FaultyPool) -> None:
    run = pool.start_run(60)
    wait_until(lambda: _is_committing(pool), 60, "the slow commit is under way")
    pool.postgres.reject()
    assert SLOW_SYMBOL not in effects_of(pool.connection, run)
    pool.connection.execute("INSERT INTO waited VALUES ('')")
    wait_until(lambda: SLOW_SYMBOL in effects_of(pool.connection, run), 60, "the server has committed")
    pool.postgres.resume()
    pool.assert_nothing_lost(run)


def test_a_command_says_that_postgres_does_not_answer(pool: FaultyPool) -> None:
    pool.postgres.reject()
    answer = pool.command("enqueue", "ledger_entry", "--symbols", "A")
    assert answer.code == 3
    assert answer.err.startswith("Error: PostgreSQL does not answer: ")


def _is_told(pool: FaultyPool) -> bool:
    code, text = pool.probe("/readyz")
    return code == 503 and "PostgreSQL" in text and pool.probe("/livez") == (200, "ok\n")


def _are_kept(pool: FaultyPool) -> bool:
    idle = pool.idle_ms()
    return len(idle) >= 2 and max(idle) < 1000 * LEASE_SECONDS


def _tries(pool: FaultyPool) -> int:
    row = pool.connection.execute("SELECT last_value FROM tries").fetchone()
    assert row is not None
    return int(row[0])


def _is_committing(pool: FaultyPool) -> bool:
    row = pool.connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND query = 'COMMIT' AND wait_event = 'PgSleep'",
        (ROLE,),
    ).fetchone()
    return row != (0,)
