-- Backfills: runs for ticks that had none, or whose run did not succeed; a row for each tick says its outcome.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

CREATE TABLE backfills (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject      text        NOT NULL,                    -- the schedule, or the digest of the request of a job
    schedule_id  bigint      REFERENCES schedules ON DELETE SET NULL,
    schedule     text,                                    -- its name, kept when it is removed; null: a job without one
    request      jsonb       NOT NULL,                    -- as `submit_runs` takes it, without the as-of
    first_day    date        NOT NULL,
    last_day     date        NOT NULL,
    parallel     integer     NOT NULL CHECK (parallel BETWEEN 1 AND 100),
    again        boolean     NOT NULL DEFAULT false,      -- also ticks whose run succeeded before
    requested_by text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    cancelled_at timestamptz,
    ended_at     timestamptz,                             -- no tick is waiting or started any more
    CONSTRAINT backfills_request_shape CHECK (jsonb_typeof(request) = 'object'),
    CONSTRAINT backfills_moments CHECK (
        first_day BETWEEN '0001-01-03' AND '9999-12-28' AND last_day BETWEEN '0001-01-03' AND '9999-12-28'
        AND created_at BETWEEN '0001-01-03' AND '9999-12-28'
        AND (cancelled_at IS NULL OR cancelled_at BETWEEN '0001-01-03' AND '9999-12-28')
        AND (ended_at IS NULL OR ended_at BETWEEN '0001-01-03' AND '9999-12-28'))
);
CREATE INDEX backfills_open ON backfills (id) WHERE ended_at IS NULL;
CREATE INDEX backfills_schedule ON backfills (schedule_id) WHERE schedule_id IS NOT NULL;

CREATE TABLE backfill_ticks (
    backfill_id   bigint      NOT NULL REFERENCES backfills ON DELETE CASCADE,
    subject       text        NOT NULL,
    scheduled_for timestamptz NOT NULL,
    session       date        NOT NULL,
    state         text        NOT NULL DEFAULT 'waiting'
                  CHECK (state IN ('waiting', 'started', 'completed', 'failed', 'skipped', 'cancelled')),
    reason        text,
    run_id        bigint      REFERENCES runs ON DELETE SET NULL,
    changed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (backfill_id, scheduled_for),
    CONSTRAINT backfill_ticks_moments CHECK (
        scheduled_for BETWEEN '0001-01-03' AND '9999-12-28' AND session BETWEEN '0001-01-03' AND '9999-12-28'
        AND changed_at BETWEEN '0001-01-03' AND '9999-12-28')
);
-- Two backfills of one subject share no open tick: so each has one run, whoever asks for it, and however often.
CREATE UNIQUE INDEX backfill_ticks_once ON backfill_ticks (subject, scheduled_for) WHERE state IN ('waiting', 'started');
CREATE INDEX backfill_ticks_of ON backfill_ticks (subject, scheduled_for);
CREATE INDEX backfill_ticks_run ON backfill_ticks (run_id) WHERE run_id IS NOT NULL;
