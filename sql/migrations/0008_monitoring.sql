-- For those who watch, and for those who work without owning: totals, roles, and what needs an owner as functions.

-- How many items were ever enqueued, by job: runs go when they are old, this stays.
CREATE TABLE job_totals (
    queue          text   NOT NULL,
    job            text   NOT NULL,
    items_enqueued bigint NOT NULL,
    PRIMARY KEY (queue, job)
);
INSERT INTO job_totals SELECT queue, job, sum(item_count) FROM job_schedule_runs GROUP BY queue, job;

-- Partitions are made and dropped by the owner of the tables, whoever asks; no temporary table stands before a real one.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);
ALTER FUNCTION ensure_job_run_items_partition(date) SECURITY DEFINER SET search_path FROM CURRENT;
ALTER FUNCTION ensure_ohlcv_1min_partition(timestamptz) SECURITY DEFINER SET search_path FROM CURRENT;

CREATE FUNCTION drop_job_run_items_partition(day date) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM job_schedule_runs WHERE run_day = day AND status IN ('PENDING', 'RUNNING')) THEN
        RAISE EXCEPTION 'a run of % is open', day USING ERRCODE = 'object_in_use';
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS %I', 'job_run_items_' || to_char(day, 'YYYYMMDD'));
END
$$;

REVOKE EXECUTE ON FUNCTION ensure_job_run_items_partition(date), ensure_ohlcv_1min_partition(timestamptz),
    drop_job_run_items_partition(date) FROM PUBLIC;

-- Two groups without a login: `streamworkers_app` does the work and changes no table; `streamworkers_readonly` looks.
-- Whoever logs in is made a member of one. Does nothing for a role that is not there; safe to repeat.
CREATE FUNCTION grant_streamworkers_roles() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    here text := current_schema();
BEGIN
    IF NOT pg_has_role((SELECT relowner FROM pg_class WHERE oid = 'job_schedule_runs'::regclass), 'USAGE') THEN
        RAISE EXCEPTION 'role % does not own the tables', current_user USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_app') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO streamworkers_app', here);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO streamworkers_app', here);
        EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %I TO streamworkers_app', here);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I'
                       ' GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO streamworkers_app', here);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT USAGE ON SEQUENCES TO streamworkers_app', here);
        GRANT EXECUTE ON FUNCTION ensure_job_run_items_partition(date), ensure_ohlcv_1min_partition(timestamptz),
            drop_job_run_items_partition(date) TO streamworkers_app;
        REVOKE INSERT, UPDATE, DELETE ON schema_migrations FROM streamworkers_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_readonly') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO streamworkers_readonly', here);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO streamworkers_readonly', here);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO streamworkers_readonly', here);
    END IF;
END
$$;
