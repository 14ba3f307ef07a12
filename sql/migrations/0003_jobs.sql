-- The ledger: runs, their items, and the outbox of events. PostgreSQL is the truth about work; Redis carries it.

CREATE TABLE job_schedule_runs (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job             text        NOT NULL,
    queue           text        NOT NULL,
    status          text        NOT NULL DEFAULT 'PENDING'
        CHECK (status IN ('PENDING', 'RUNNING', 'COMPLETED', 'COMPLETED_WITH_ERRORS', 'FAILED', 'CANCELLED')),
    target          text        NOT NULL,             -- what was asked for: a universe expression or a symbol list
    timeframe       text,
    as_of           timestamptz,
    parameters      jsonb       NOT NULL DEFAULT '{}',
    idempotency_key text UNIQUE,
    item_count      integer     NOT NULL,
    max_attempts    integer     NOT NULL CHECK (max_attempts BETWEEN 1 AND 100),
    run_day         date        NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,   -- partition of its items
    created_at      timestamptz NOT NULL DEFAULT now(),
    enqueued_at     timestamptz,                      -- all entries are in the stream; null: the reconciler adds them
    started_at      timestamptz,
    completed_at    timestamptz,
    completed_count integer,
    failed_count    integer,
    cancelled_count integer
);
CREATE INDEX job_schedule_runs_open ON job_schedule_runs (queue, id) WHERE status IN ('PENDING', 'RUNNING');

-- One partition a day, dropped whole when its retention ends. No index on status: with the state outside every
-- index an update of it stays on its page (HOT), which is worth a factor of ten in commits a second.
CREATE TABLE job_run_items (
    run_day     date     NOT NULL,
    run_id      bigint   NOT NULL,
    seq         integer  NOT NULL,
    symbol      text     NOT NULL,
    timeframe   text,
    status      text     NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'retrying', 'completed', 'failed', 'cancelled')),
    attempt     smallint NOT NULL DEFAULT 0,
    worker      text,
    started_at  timestamptz,
    finished_at timestamptz,
    result      jsonb,
    error       text,
    history     jsonb,                                -- earlier attempts: [{attempt, worker, at, error}, …]
    PRIMARY KEY (run_day, run_id, seq)
) PARTITION BY RANGE (run_day);

-- Makes the partition of job_run_items for one day; attaching keeps workers of other days going.
CREATE FUNCTION ensure_job_run_items_partition(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name text := 'job_run_items_' || to_char(day, 'YYYYMMDD');
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('ensure_job_run_items_partition'));
    -- Asked of the catalogue itself: to_regclass may answer from before the wait.
    IF EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'job_run_items'::regclass AND c.relname = name) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE job_run_items INCLUDING ALL) WITH (fillfactor = 60)', name);
    EXECUTE format('ALTER TABLE job_run_items ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, day, day + 1);
END
$$;

CREATE TABLE event_outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id   uuid        NOT NULL DEFAULT gen_random_uuid(),
    channel    text        NOT NULL,
    payload    jsonb       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE VIEW job_executions AS
SELECT job AS job_name,
       started_at,
       completed_at,
       extract(epoch FROM completed_at - started_at)::double precision AS duration_seconds,
       status = 'COMPLETED' AS success,
       jsonb_build_object('run_id', id, 'status', status, 'items', item_count, 'completed', completed_count,
                          'failed', failed_count, 'cancelled', cancelled_count) AS result,
       CASE WHEN status IN ('FAILED', 'COMPLETED_WITH_ERRORS')
            THEN failed_count || ' of ' || item_count || ' items failed' END AS error
FROM job_schedule_runs
WHERE completed_at IS NOT NULL;
