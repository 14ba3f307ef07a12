-- Maintenance windows: while one is open, no tick of its schedules starts a run. Its ticks are skipped, or wait for its end.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

CREATE TABLE maintenance_windows (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    starts_at    timestamptz NOT NULL,
    ends_at      timestamptz NOT NULL,              -- the first moment after it
    schedule_ids bigint[],                          -- null: all schedules
    mode         text        NOT NULL DEFAULT 'skip' CHECK (mode IN ('skip', 'wait')),
    timezone     text        NOT NULL,              -- in which people see it
    note         text        NOT NULL DEFAULT '',
    created_by   text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (starts_at <= ends_at),
    CONSTRAINT maintenance_windows_schedule_ids_shape CHECK (array_position(schedule_ids, NULL) IS NULL),
    CONSTRAINT maintenance_windows_moments CHECK (
        starts_at BETWEEN '0001-01-03' AND '9999-12-28' AND ends_at BETWEEN '0001-01-03' AND '9999-12-28'
        AND created_at BETWEEN '0001-01-03' AND '9999-12-28')
);
CREATE INDEX maintenance_windows_ends ON maintenance_windows (ends_at);
CREATE TRIGGER maintenance_windows_notify AFTER INSERT OR UPDATE OR DELETE ON maintenance_windows
    FOR EACH STATEMENT EXECUTE FUNCTION notify_listeners('streamworkers_schedules');
