-- What clients see and do after they have submitted: the items of their runs, the jobs that there are, and cancel.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

-- As before, and what was asked for.
CREATE OR REPLACE VIEW client_runs WITH (security_barrier) AS
SELECT id, run_uuid AS run_id, job, status, item_count, completed_count, failed_count, cancelled_count,
       submit_key AS key, requested_by AS "user", created_at, prepared_at, started_at, completed_at, reason,
       target, timeframe, as_of, parameters
FROM runs WHERE submitted_by = session_user::text;

CREATE INDEX runs_submitted_by ON runs (submitted_by, id) WHERE submitted_by IS NOT NULL;

-- The items of the runs that a login has submitted, for the login itself.
CREATE VIEW client_items WITH (security_barrier) AS
SELECT i.run_id, i.seq, i.symbol AS key, i.timeframe, i.status, i.attempt, i.worker, i.started_at, i.finished_at,
       i.result, i.error, i.history
FROM runs r JOIN run_items i ON i.run_day = r.run_day AND i.run_id = r.id
WHERE r.submitted_by = session_user::text;

-- The jobs that can be submitted; two releases side by side may have two rows of a job.
CREATE VIEW client_jobs AS
SELECT name, release, queue, max_attempts, item_kind, params_schema, seen_at FROM job_types;

-- Cancels a run and its open items; returns the number of these items, or null if the run had ended. Redis need not know:
-- workers drop the entries of closed items.
CREATE FUNCTION cancel_run(cancelled bigint) RETURNS integer LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    run    runs;
    closed integer;
BEGIN
    UPDATE runs SET status = 'CANCELLED', completed_at = clock_timestamp()
    WHERE id = cancelled AND status IN ('PENDING', 'RUNNING') RETURNING * INTO run;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE run_items SET status = 'cancelled', finished_at = clock_timestamp()
    WHERE run_day = run.run_day AND run_id = run.id AND status IN ('pending', 'retrying');
    GET DIAGNOSTICS closed = ROW_COUNT;
    UPDATE runs r SET completed_count = c.completed, failed_count = c.failed, cancelled_count = c.cancelled
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

-- Cancels a run that the login has submitted; returns its state then, and no row if the login has no such run.
CREATE FUNCTION cancel_client_run(cancelled bigint) RETURNS TABLE (status text, items integer) LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    run    runs;
    closed integer;
BEGIN
    SELECT r.* INTO run FROM runs r WHERE r.id = cancelled AND r.submitted_by = session_user::text FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    closed := cancel_run(cancelled);
    IF closed IS NOT NULL THEN
        INSERT INTO audit_log (actor_kind, actor_user, address, action, object_type, object_id, before, after, outcome)
        VALUES ('client', session_user, inet_client_addr(), 'run.cancel', 'run', cancelled::text,
                jsonb_build_object('job', run.job, 'status', run.status), jsonb_build_object('items', closed), 'ok');
    END IF;
    RETURN QUERY SELECT r.status, coalesce(closed, 0) FROM runs r WHERE r.id = cancelled;
END
$$;

REVOKE EXECUTE ON FUNCTION cancel_run(bigint), cancel_client_run(bigint) FROM PUBLIC;

-- As before, and: clients see the items of their runs and the jobs, and cancel their runs.
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
            evening(timestamptz, time), cancel_run(bigint), cancel_client_run(bigint) TO streamworkers_app;
        REVOKE INSERT, UPDATE, DELETE ON schema_migrations FROM streamworkers_app;
        REVOKE UPDATE ON submissions FROM streamworkers_app;
        REVOKE UPDATE, DELETE ON alert_versions FROM streamworkers_app;
        REVOKE INSERT, UPDATE, DELETE ON telegram_key FROM streamworkers_app;
        REVOKE UPDATE, DELETE ON audit_log, audit_seals FROM streamworkers_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_readonly') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO streamworkers_readonly', here);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO streamworkers_readonly', here);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO streamworkers_readonly', here);
        GRANT EXECUTE ON FUNCTION schedule_progress(timestamptz), evening(timestamptz, time) TO streamworkers_readonly;
        REVOKE ALL ON telegram_key, telegram_codes, api_tokens, api_idempotency FROM streamworkers_readonly;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_client') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO streamworkers_client', here);
        GRANT SELECT ON client_runs, client_items, client_jobs TO streamworkers_client;
        GRANT EXECUTE ON FUNCTION submit_runs(jsonb), submit_run(jsonb), cancel_client_run(bigint)
            TO streamworkers_client;
    END IF;
END
$$;

SELECT grant_streamworkers_roles();
