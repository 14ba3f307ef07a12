-- What starts runs: schedules, and what became of each of their ticks.

CREATE TABLE job_schedules (
    id                    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                  text        NOT NULL UNIQUE CHECK (name ~ '^[a-z][a-z0-9_]{0,63}$'),
    job_type              text        NOT NULL,
    target                jsonb CHECK (target ? 'universe' OR target ? 'symbols'),   -- null: the parts of the job itself
    timeframe             text,
    task_params           jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(task_params) = 'object'),
    cron                  text,                           -- or session_close+10m; null: an event starts it
    on_event              text,
    timezone              text        NOT NULL DEFAULT 'America/New_York',
    calendar              text,                           -- ticks only on its sessions
    enabled               boolean     NOT NULL DEFAULT true,
    catch_up              text        NOT NULL DEFAULT 'latest' CHECK (catch_up IN ('skip', 'latest', 'all')),
    misfire_grace_seconds integer     NOT NULL DEFAULT 300 CHECK (misfire_grace_seconds BETWEEN 0 AND 604800),
    max_instances         integer     NOT NULL DEFAULT 1 CHECK (max_instances BETWEEN 1 AND 1000),
    "coalesce"            boolean     NOT NULL DEFAULT true,
    after                 text REFERENCES job_schedules (name) ON UPDATE CASCADE,
    min_coverage          double precision NOT NULL DEFAULT 1 CHECK (min_coverage BETWEEN 0 AND 1),
    after_timeout_seconds integer     NOT NULL DEFAULT 3600 CHECK (after_timeout_seconds BETWEEN 0 AND 604800),
    after_timeout_action  text        NOT NULL DEFAULT 'start' CHECK (after_timeout_action IN ('start', 'skip')),
    jitter_seconds        integer     NOT NULL DEFAULT 0 CHECK (jitter_seconds BETWEEN 0 AND 86400),
    next_run_at           timestamptz,                    -- the next tick; null: not planned yet
    due_at                timestamptz,                    -- when to look at it: the tick and its jitter
    planned_from          timestamptz NOT NULL DEFAULT clock_timestamp(),   -- ticks before it never were
    problem               text,                           -- why it cannot be planned, where it cannot
    user_id               text,
    created_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (cron IS NOT NULL OR on_event IS NOT NULL),
    CHECK (after <> name)
);

-- A change of the definition, by whomever, makes the scheduler plan anew from this moment on.
CREATE FUNCTION job_schedules_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    tick_day date;
BEGIN
    NEW.updated_at := clock_timestamp();
    IF NEW.jitter_seconds <> OLD.jitter_seconds THEN
        NEW.due_at := NULL;
    END IF;
    IF (NEW.cron, NEW.timezone, NEW.calendar, NEW.enabled)
       IS DISTINCT FROM (OLD.cron, OLD.timezone, OLD.calendar, OLD.enabled) THEN
        IF OLD.enabled AND OLD.next_run_at <= clock_timestamp() THEN
            -- Its time had come and nobody had decided on it: it is not lost without a word.
            BEGIN
                tick_day := (OLD.next_run_at AT TIME ZONE OLD.timezone)::date;
            EXCEPTION WHEN invalid_parameter_value THEN
                tick_day := (OLD.next_run_at AT TIME ZONE 'UTC')::date;
            END;
            INSERT INTO job_schedule_ticks (schedule_id, scheduled_for, session, state, reason)
            VALUES (OLD.id, OLD.next_run_at, tick_day, 'missed', 'the schedule was changed before it was decided on')
            ON CONFLICT DO NOTHING;
        END IF;
        NEW.next_run_at := NULL;
        NEW.due_at := NULL;
        NEW.problem := NULL;
        NEW.planned_from := clock_timestamp();
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER job_schedules_changed BEFORE UPDATE OF name, job_type, target, timeframe, task_params, cron, on_event,
    timezone, calendar, enabled, catch_up, misfire_grace_seconds, max_instances, "coalesce", after, min_coverage,
    after_timeout_seconds, after_timeout_action, jitter_seconds, user_id
ON job_schedules FOR EACH ROW EXECUTE FUNCTION job_schedules_changed();

CREATE FUNCTION notify_listeners() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify(TG_ARGV[0], '');
    RETURN NULL;
END
$$;
-- Not for the columns that planning itself writes: a tick must not wake every replica.
CREATE TRIGGER job_schedules_notify AFTER INSERT OR DELETE OR UPDATE OF name, job_type, target, timeframe, task_params,
    cron, on_event, timezone, calendar, enabled, catch_up, misfire_grace_seconds, max_instances, "coalesce", after,
    min_coverage, after_timeout_seconds, after_timeout_action, jitter_seconds, user_id
ON job_schedules FOR EACH STATEMENT EXECUTE FUNCTION notify_listeners('streamworkers_schedules');

CREATE TRIGGER definition_groups_notify AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON definition_groups
    FOR EACH STATEMENT EXECUTE FUNCTION notify_listeners('streamworkers_universes');
CREATE TRIGGER group_memberships_notify AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON group_memberships
    FOR EACH STATEMENT EXECUTE FUNCTION notify_listeners('streamworkers_universes');

ALTER TABLE job_schedule_runs
    ADD COLUMN schedule_id   bigint REFERENCES job_schedules ON DELETE SET NULL,
    ADD COLUMN schedule      text,                        -- its name, kept when it is removed
    ADD COLUMN scheduled_for timestamptz,
    ADD COLUMN trigger       text NOT NULL DEFAULT 'manual' CHECK (trigger IN ('manual', 'schedule', 'event')),
    ADD COLUMN external_id   text,                        -- the job_id of who asked for it: its status hash
    ADD COLUMN requested_by  text,
    ADD COLUMN status_told   boolean NOT NULL DEFAULT false,   -- the status hash shows how it ended
    ADD UNIQUE (schedule_id, scheduled_for);
CREATE INDEX job_schedule_runs_untold ON job_schedule_runs (id) WHERE external_id IS NOT NULL AND NOT status_told;
CREATE INDEX job_schedule_runs_succeeded ON job_schedule_runs (schedule_id, completed_at) WHERE status = 'COMPLETED';
CREATE INDEX job_schedule_runs_ended ON job_schedule_runs (completed_at) WHERE completed_at IS NOT NULL;

-- What became of each tick. One row, one decision: whoever inserts it first has made it.
CREATE TABLE job_schedule_ticks (
    schedule_id   bigint      NOT NULL REFERENCES job_schedules ON DELETE CASCADE,
    scheduled_for timestamptz NOT NULL,
    session       date        NOT NULL,                   -- its day in the zone of the schedule
    state         text        NOT NULL CHECK (state IN ('waiting', 'started', 'missed', 'skipped', 'refused')),
    ticks         integer     NOT NULL DEFAULT 1,         -- so many ticks up to this one, where they were too many
    reason        text,
    detail        jsonb,                                  -- of a dependency: its run, coverage, missing symbols
    run_id        bigint REFERENCES job_schedule_runs ON DELETE SET NULL,
    decided_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (schedule_id, scheduled_for)
);
CREATE INDEX job_schedule_ticks_run ON job_schedule_ticks (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX job_schedule_ticks_waiting ON job_schedule_ticks (scheduled_for) WHERE state = 'waiting';

CREATE TABLE msg_system_health (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    checked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    component  text        NOT NULL,
    status     text        NOT NULL CHECK (status IN ('ok', 'degraded', 'critical')),
    message    text        NOT NULL,
    detail     jsonb       NOT NULL DEFAULT '{}',
    run_id     bigint                                     -- null: the scheduler itself found it
);
CREATE INDEX msg_system_health_recent ON msg_system_health (checked_at DESC);

CREATE OR REPLACE VIEW job_executions AS
SELECT job AS job_name,
       started_at,
       completed_at,
       extract(epoch FROM completed_at - started_at)::double precision AS duration_seconds,
       status = 'COMPLETED' AS success,
       jsonb_build_object('run_id', id, 'status', status, 'items', item_count, 'completed', completed_count,
                          'failed', failed_count, 'cancelled', cancelled_count, 'schedule', schedule,
                          'scheduled_for', scheduled_for, 'trigger', trigger) AS result,
       CASE WHEN status IN ('FAILED', 'COMPLETED_WITH_ERRORS')
            THEN failed_count || ' of ' || item_count || ' items failed' END AS error
FROM job_schedule_runs
WHERE completed_at IS NOT NULL;

-- Rows come in the order of these times, so a block range index finds old ones at next to no cost.
CREATE INDEX indicator_results_age ON indicator_results USING brin (calculated_at);
CREATE INDEX daily_patterns_age ON daily_patterns USING brin (detected_at);
