-- The functions of the board Tonight are for those who read and operate, not for everybody who may connect.
REVOKE EXECUTE ON FUNCTION schedule_progress(timestamptz), evening(timestamptz, time) FROM PUBLIC;

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
            drop_run_items_partition(date), canonical_json(jsonb), canonical_request(jsonb),
            request_differences(jsonb, jsonb), submit_runs(jsonb), submit_run(jsonb), schedule_progress(timestamptz),
            evening(timestamptz, time) TO streamworkers_app;
        REVOKE INSERT, UPDATE, DELETE ON schema_migrations FROM streamworkers_app;
        REVOKE UPDATE ON submissions FROM streamworkers_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_readonly') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO streamworkers_readonly', here);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO streamworkers_readonly', here);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO streamworkers_readonly', here);
        GRANT EXECUTE ON FUNCTION schedule_progress(timestamptz), evening(timestamptz, time) TO streamworkers_readonly;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_client') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO streamworkers_client', here);
        GRANT SELECT ON client_runs TO streamworkers_client;
        GRANT EXECUTE ON FUNCTION submit_runs(jsonb), submit_run(jsonb) TO streamworkers_client;
    END IF;
END
$$;

SELECT grant_streamworkers_roles();
