-- Who may do what: all rights of the three groups, and what everybody may not do. `streamworkers migrate` runs this file
-- after the migrations, also after a restore. A right is added or taken here; a migration neither grants nor revokes.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- First nobody but the owner has a right to anything of the schema that is the owner's; then each group gets its own.
-- So it does not matter what was granted before: by an older release, by a restored dump, by PostgreSQL to everybody.
CREATE OR REPLACE FUNCTION grant_streamworkers_roles() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    here      text := quote_ident(current_schema());
    owner     regrole := (SELECT relowner FROM pg_class WHERE oid = 'runs'::regclass);
    groups    text := (SELECT string_agg(rolname, ', ') FROM pg_roles
                       WHERE rolname IN ('streamworkers_app', 'streamworkers_readonly', 'streamworkers_client'));
    everybody text := concat_ws(', ', 'PUBLIC', groups);
    tables    text;
    sequences text;
    routines  text;
    later     text := format('ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA %s ', owner, here);
BEGIN
    IF NOT pg_has_role(owner, 'USAGE') THEN
        RAISE EXCEPTION 'role % does not own the tables', current_user USING ERRCODE = 'insufficient_privilege';
    END IF;

    -- Not ours is what others own, and what an extension has put into the schema.
    SELECT string_agg(format('%I', relname), ', ') FILTER (WHERE relkind <> 'S'),
           string_agg(format('%I', relname), ', ') FILTER (WHERE relkind = 'S')
    INTO tables, sequences
    FROM pg_class c
    WHERE relnamespace = here::regnamespace AND relowner IN (owner, current_user::regrole)
      AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e');
    SELECT string_agg(p.oid::regprocedure::text, ', ') INTO routines
    FROM pg_proc p
    WHERE pronamespace = here::regnamespace AND proowner IN (owner, current_user::regrole) AND prokind <> 'a'
      AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e');

    EXECUTE format('REVOKE CREATE ON SCHEMA %s FROM %s', here, everybody);
    EXECUTE format('REVOKE ALL ON %s FROM %s', tables, everybody);
    EXECUTE format('REVOKE ALL ON SEQUENCE %s FROM %s', sequences, everybody);
    EXECUTE format('REVOKE ALL ON ROUTINE %s FROM %s', routines, everybody);
    EXECUTE later || format('REVOKE ALL ON TABLES FROM %s', everybody);
    EXECUTE later || format('REVOKE ALL ON SEQUENCES FROM %s', everybody);
    IF groups IS NOT NULL THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO %s', here, groups);
    END IF;

    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_app') THEN
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO streamworkers_app', tables);
        EXECUTE format('GRANT USAGE ON SEQUENCE %s TO streamworkers_app', sequences);
        REVOKE INSERT, UPDATE, DELETE ON schema_migrations, package_migrations, telegram_key FROM streamworkers_app;
        REVOKE UPDATE ON submissions, run_events FROM streamworkers_app;
        REVOKE UPDATE, DELETE ON alert_versions, audit_log, audit_seals FROM streamworkers_app;
        GRANT EXECUTE ON FUNCTION ensure_run_items_partition(date), ensure_ohlcv_1min_partition(timestamptz),
            drop_run_items_partition(date), canonical_json(jsonb), canonical_request(jsonb), canonical_requests(jsonb),
            canonical_start(jsonb), list_awaited(jsonb), webhook_address(jsonb), find_webhook_error(jsonb), keep_webhook_endpoint(jsonb),
            request_differences(jsonb, jsonb), submit_runs(jsonb), submit_run(jsonb), schedule_progress(timestamptz),
            evening(timestamptz, time), cancel_run(bigint), cancel_client_run(bigint), find_without_bars(text[]),
            find_near_symbol(text), describe_without_bars(text[]) TO streamworkers_app;
        EXECUTE later || 'GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO streamworkers_app';
        EXECUTE later || 'GRANT USAGE ON SEQUENCES TO streamworkers_app';
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_readonly') THEN
        EXECUTE format('GRANT SELECT ON %s TO streamworkers_readonly', tables);
        REVOKE SELECT ON telegram_key, telegram_codes, api_tokens, api_idempotency FROM streamworkers_readonly;
        GRANT EXECUTE ON FUNCTION schedule_progress(timestamptz), evening(timestamptz, time), find_without_bars(text[]),
            find_near_symbol(text) TO streamworkers_readonly;
        EXECUTE later || 'GRANT SELECT ON TABLES TO streamworkers_readonly';
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_client') THEN
        GRANT SELECT ON client_runs, client_items, client_events, client_jobs TO streamworkers_client;
        GRANT EXECUTE ON FUNCTION submit_runs(jsonb), submit_run(jsonb), cancel_client_run(bigint)
            TO streamworkers_client;
    END IF;
END
$$;

SELECT grant_streamworkers_roles();
