-- The progress of runs, for those who follow them. The events of a run are numbered without a gap, in the order of the commits:
-- who writes one holds the lock of the run's row until its commit, and the row counts them. Triggers write all but
-- `progress`, so that no way of changing a run can forget it, and neither can a process of the release before.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

CREATE TABLE run_events (
    run_id bigint      NOT NULL,
    seq    integer     NOT NULL,
    kind   text        NOT NULL
        CHECK (kind IN ('submitted', 'prepared', 'running', 'progress', 'ended', 'reopened')),
    data   jsonb       NOT NULL,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, seq)
);
CREATE INDEX run_events_age ON run_events USING brin (at);

-- A run that was there before has one event that is not kept.
ALTER TABLE runs
    ADD COLUMN last_event  integer NOT NULL DEFAULT 1 CHECK (last_event BETWEEN 1 AND 2000000000),
    ADD COLUMN is_followed boolean NOT NULL DEFAULT false;   -- somebody waits for its events: their commits notify

-- The first event of new runs: that they wait for a preparer, that they have their items, or that there was nothing to do.
-- Nobody can follow a run yet, so nobody is notified.
CREATE FUNCTION write_first_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO run_events (run_id, seq, kind, data)
    SELECT id, last_event,
           CASE WHEN status NOT IN ('PENDING', 'RUNNING') THEN 'ended' WHEN prepared_at IS NULL THEN 'submitted'
                ELSE 'prepared' END,
           CASE WHEN status NOT IN ('PENDING', 'RUNNING')
                THEN jsonb_build_object('status', status, 'items', item_count, 'completed', completed_count,
                                        'failed', failed_count, 'cancelled', cancelled_count, 'reason', reason)
                WHEN prepared_at IS NULL THEN '{}'
                ELSE jsonb_build_object('items', item_count) END
    FROM added;
    RETURN NULL;
END
$$;
CREATE TRIGGER runs_first_events AFTER INSERT ON runs REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION write_first_events();

-- Before the update, so that the row's count is part of it; the row is locked already.
CREATE FUNCTION write_next_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.last_event := OLD.last_event + 1;
    INSERT INTO run_events (run_id, seq, kind, data)
    VALUES (NEW.id, NEW.last_event,
            CASE WHEN NEW.status NOT IN ('PENDING', 'RUNNING') THEN 'ended'
                 WHEN OLD.status NOT IN ('PENDING', 'RUNNING') THEN 'reopened'
                 WHEN NEW.status <> OLD.status THEN 'running'
                 ELSE 'prepared' END,
            CASE WHEN NEW.status NOT IN ('PENDING', 'RUNNING')
                 THEN jsonb_build_object('status', NEW.status, 'items', NEW.item_count, 'completed', NEW.completed_count,
                                         'failed', NEW.failed_count, 'cancelled', NEW.cancelled_count,
                                         'reason', NEW.reason)
                 ELSE jsonb_build_object('items', NEW.item_count) END);
    IF NEW.is_followed THEN
        PERFORM pg_notify('streamworkers_run_events', '');
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER runs_next_event BEFORE UPDATE OF status, prepared_at ON runs FOR EACH ROW
    WHEN (NEW.status <> OLD.status OR (OLD.prepared_at IS NULL AND NEW.prepared_at IS NOT NULL))
    EXECUTE FUNCTION write_next_event();

-- As before, in one update with the counts, which the event of the end has too.
CREATE OR REPLACE FUNCTION cancel_run(cancelled bigint) RETURNS integer LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    run    runs;
    closed integer;
BEGIN
    SELECT * INTO run FROM runs WHERE id = cancelled AND status IN ('PENDING', 'RUNNING') FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE run_items SET status = 'cancelled', finished_at = clock_timestamp()
    WHERE run_day = run.run_day AND run_id = run.id AND status IN ('pending', 'retrying');
    GET DIAGNOSTICS closed = ROW_COUNT;
    UPDATE runs r SET status = 'CANCELLED', completed_at = clock_timestamp(),
        completed_count = c.completed, failed_count = c.failed, cancelled_count = c.cancelled
    FROM (SELECT count(*) FILTER (WHERE status = 'completed') AS completed,
                 count(*) FILTER (WHERE status = 'failed') AS failed,
                 count(*) FILTER (WHERE status = 'cancelled') AS cancelled
          FROM run_items WHERE run_day = run.run_day AND run_id = run.id) c
    WHERE r.id = run.id;
    IF run.schedule IS NOT NULL THEN
        PERFORM pg_notify('streamworkers_schedules', '');
    END IF;
    RETURN closed;
END
$$;

-- As before, and the number of the newest event.
CREATE OR REPLACE VIEW client_runs WITH (security_barrier) AS
SELECT id, run_uuid AS run_id, job, status, item_count, completed_count, failed_count, cancelled_count,
       submit_key AS key, requested_by AS "user", created_at, prepared_at, started_at, completed_at, reason,
       target, timeframe, as_of, parameters, last_event
FROM runs WHERE submitted_by = session_user::text;

-- The events of the runs that a login has submitted, for the login itself.
CREATE VIEW client_events WITH (security_barrier) AS
SELECT e.run_id, e.seq, e.kind, e.data, e.at
FROM runs r JOIN run_events e ON e.run_id = r.id
WHERE r.submitted_by = session_user::text;
