-- Tables and columns get the names of docs/concepts.md. The table names of the replaced systems become views with the
-- columns those systems had, so that scripts written for them run unchanged. Every row is kept. Stop all processes of an
-- older release first: they would not find their tables.

DROP TRIGGER job_schedules_changed ON job_schedules;
DROP TRIGGER job_schedules_notify ON job_schedules;
DROP FUNCTION job_schedules_changed();

ALTER TABLE job_schedule_runs RENAME TO runs;
ALTER TABLE job_run_items RENAME TO run_items;
ALTER TABLE job_schedules RENAME TO schedules;
ALTER TABLE job_schedule_ticks RENAME TO ticks;
ALTER TABLE event_outbox RENAME TO outbox;
ALTER TABLE job_totals RENAME TO enqueued_totals;
ALTER TABLE refused_entries RENAME TO rejected_entries;
ALTER TABLE bar_bases RENAME TO series_sources;
ALTER TABLE load_pages RENAME TO load_checkpoints;
ALTER TABLE msg_system_health RENAME TO health_checks;

ALTER TABLE runs RENAME COLUMN status_told TO status_notified;
ALTER TABLE runs ADD COLUMN run_uuid uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE;   -- for other programs
ALTER TABLE run_items RENAME COLUMN opening TO generation;
ALTER TABLE schedules RENAME COLUMN job_type TO job;
ALTER TABLE schedules RENAME COLUMN task_params TO parameters;
ALTER TABLE ticks RENAME COLUMN ticks TO tick_count;
ALTER TABLE rejected_entries RENAME COLUMN refused_at TO rejected_at;
ALTER TABLE load_checkpoints RENAME COLUMN refused TO rejected;

UPDATE run_items SET result = (result - 'refused') || jsonb_build_object('rejected', result -> 'refused')
WHERE result ? 'refused';

ALTER TABLE ticks DROP CONSTRAINT job_schedule_ticks_state_check;
UPDATE ticks SET state = 'rejected' WHERE state = 'refused';
ALTER TABLE ticks ADD CONSTRAINT ticks_state_check
    CHECK (state IN ('waiting', 'started', 'missed', 'skipped', 'rejected'));

-- Partitions, constraints, indexes and sequences are named after their tables and columns.
DO $$
DECLARE
    renamed record;
    found   record;
BEGIN
    FOR found IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = 'run_items'::regclass LOOP
        EXECUTE format('ALTER TABLE %I RENAME TO %I', found.relname, replace(found.relname, 'job_run_items', 'run_items'));
    END LOOP;
    FOR renamed IN SELECT * FROM (VALUES
            ('job_schedule_runs_', 'runs_'), ('job_run_items_', 'run_items_'), ('job_schedules_', 'schedules_'),
            ('job_schedule_ticks_', 'ticks_'), ('event_outbox_', 'outbox_'), ('job_totals_', 'enqueued_totals_'),
            ('refused_entries_', 'rejected_entries_'), ('bar_bases_', 'series_sources_'),
            ('load_pages_', 'load_checkpoints_'), ('msg_system_health_', 'health_checks_'),
            ('runs_status_told_', 'runs_status_notified_'), ('runs_untold', 'runs_to_notify'),
            ('run_items_opening_', 'run_items_generation_'), ('schedules_job_type_', 'schedules_job_'),
            ('schedules_task_params_', 'schedules_parameters_'), ('ticks_ticks_', 'ticks_tick_count_'),
            ('rejected_entries_refused_at_', 'rejected_entries_rejected_at_'),
            ('load_checkpoints_refused_', 'load_checkpoints_rejected_')) AS names (old, new) LOOP
        -- Renaming a check or NOT NULL of the partitioned table renames that of its partitions.
        FOR found IN SELECT conname, conrelid::regclass AS relation FROM pg_constraint
                     WHERE connamespace = current_schema()::regnamespace AND conrelid <> 0
                       AND NOT (contype IN ('c', 'n') AND coninhcount > 0) AND starts_with(conname, renamed.old) LOOP
            EXECUTE format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', found.relation, found.conname,
                           renamed.new || substr(found.conname, length(renamed.old) + 1));
        END LOOP;
        FOR found IN SELECT relname, CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'INDEX' END AS kind FROM pg_class
                     WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('i', 'I', 'S')
                       AND starts_with(relname, renamed.old) LOOP
            EXECUTE format('ALTER %s %I RENAME TO %I', found.kind, found.relname,
                           renamed.new || substr(found.relname, length(renamed.old) + 1));
        END LOOP;
    END LOOP;
END
$$;

SELECT set_config('search_path', current_schema() || ', pg_temp', true);

-- A changed definition makes the scheduler plan the schedule again from now on.
CREATE FUNCTION schedules_changed() RETURNS trigger LANGUAGE plpgsql AS $$
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
            -- The tick was due and undecided: record it as missed.
            BEGIN
                tick_day := (OLD.next_run_at AT TIME ZONE OLD.timezone)::date;
            EXCEPTION WHEN invalid_parameter_value THEN
                tick_day := (OLD.next_run_at AT TIME ZONE 'UTC')::date;
            END;
            INSERT INTO ticks (schedule_id, scheduled_for, session, state, reason)
            VALUES (OLD.id, OLD.next_run_at, tick_day, 'missed', 'the schedule was changed before the tick was decided')
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
CREATE TRIGGER schedules_changed BEFORE UPDATE OF name, job, target, timeframe, parameters, cron, on_event,
    timezone, calendar, enabled, catch_up, misfire_grace_seconds, max_instances, "coalesce", after, min_coverage,
    after_timeout_seconds, after_timeout_action, jitter_seconds, user_id
ON schedules FOR EACH ROW EXECUTE FUNCTION schedules_changed();

-- Not for the columns that planning itself writes: a tick must not wake every scheduler.
CREATE TRIGGER schedules_notify AFTER INSERT OR DELETE OR UPDATE OF name, job, target, timeframe, parameters,
    cron, on_event, timezone, calendar, enabled, catch_up, misfire_grace_seconds, max_instances, "coalesce", after,
    min_coverage, after_timeout_seconds, after_timeout_action, jitter_seconds, user_id
ON schedules FOR EACH STATEMENT EXECUTE FUNCTION notify_listeners('streamworkers_schedules');

-- These two run with the rights of the tables' owner, whichever role calls them; see 0008.
DROP FUNCTION ensure_job_run_items_partition(date), drop_job_run_items_partition(date);
CREATE FUNCTION ensure_run_items_partition(day date) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    name text := 'run_items_' || to_char(day, 'YYYYMMDD');
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('ensure_run_items_partition'));
    -- Ask the catalogue itself: to_regclass may still answer from before the wait.
    IF EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'run_items'::regclass AND c.relname = name) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE run_items INCLUDING ALL) WITH (fillfactor = 60)', name);
    EXECUTE format('ALTER TABLE run_items ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, day, day + 1);
END
$$;
CREATE FUNCTION drop_run_items_partition(day date) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM runs WHERE run_day = day AND status IN ('PENDING', 'RUNNING')) THEN
        RAISE EXCEPTION 'a run of % is open', day USING ERRCODE = 'object_in_use';
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS %I', 'run_items_' || to_char(day, 'YYYYMMDD'));
END
$$;
REVOKE EXECUTE ON FUNCTION ensure_run_items_partition(date), drop_run_items_partition(date) FROM PUBLIC;

CREATE OR REPLACE FUNCTION grant_streamworkers_roles() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    here text := current_schema();
BEGIN
    IF NOT pg_has_role((SELECT relowner FROM pg_class WHERE oid = 'runs'::regclass), 'USAGE') THEN
        RAISE EXCEPTION 'role % does not own the tables', current_user USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_app') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO streamworkers_app', here);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO streamworkers_app', here);
        EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %I TO streamworkers_app', here);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I'
                       ' GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO streamworkers_app', here);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT USAGE ON SEQUENCES TO streamworkers_app', here);
        GRANT EXECUTE ON FUNCTION ensure_run_items_partition(date), ensure_ohlcv_1min_partition(timestamptz),
            drop_run_items_partition(date) TO streamworkers_app;
        REVOKE INSERT, UPDATE, DELETE ON schema_migrations FROM streamworkers_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_readonly') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO streamworkers_readonly', here);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO streamworkers_readonly', here);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO streamworkers_readonly', here);
    END IF;
END
$$;

-- `job_schedules` and `msg_system_health` can also be written to: each selects plain columns of one table.
CREATE VIEW job_schedules AS
SELECT id, name, job AS job_type, target, timeframe, parameters AS task_params, cron, on_event, timezone, calendar,
       enabled, catch_up, misfire_grace_seconds, max_instances, "coalesce", after, min_coverage, after_timeout_seconds,
       after_timeout_action, jitter_seconds, next_run_at, user_id, created_at, updated_at
FROM schedules;

-- There, one worker executed a run; here many do: `worker_id` is the one that executed the first item that has any.
CREATE VIEW job_schedule_runs AS
SELECT r.run_uuid AS run_id,
       r.job AS job_type,
       r.schedule_id AS job_id,
       r.requested_by AS user_id,
       r.status,
       r.scheduled_for,
       r.enqueued_at,
       r.started_at,
       r.completed_at AS finished_at,
       jsonb_build_object('run', r.id, 'job_type', r.job, 'queue', r.queue, 'target', r.target, 'timeframe', r.timeframe,
                          'as_of', r.as_of, 'task_params', r.parameters, 'max_attempts', r.max_attempts,
                          'schedule', r.schedule, 'trigger', r.trigger, 'external_id', r.external_id) AS job_snapshot,
       CASE WHEN r.completed_at IS NOT NULL
            THEN jsonb_build_object('items', r.item_count, 'completed', r.completed_count, 'failed', r.failed_count,
                                    'cancelled', r.cancelled_count) END AS result,
       CASE WHEN r.status IN ('FAILED', 'COMPLETED_WITH_ERRORS')
            THEN r.failed_count || ' of ' || r.item_count || ' items failed' END AS error,
       CASE WHEN r.started_at IS NOT NULL
            THEN (SELECT i.worker FROM run_items i
                  WHERE i.run_day = r.run_day AND i.run_id = r.id AND i.worker IS NOT NULL
                  ORDER BY i.seq LIMIT 1) END AS worker_id
FROM runs r;

CREATE VIEW msg_system_health AS
SELECT id, checked_at, component, status, message, detail, run_id FROM health_checks;
