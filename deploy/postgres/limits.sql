-- What a login that only reads could still do to others, taken away; run once in each database, by a superuser, and again
-- after a restore: psql --file deploy/postgres/limits.sql. It may be repeated.
--
-- A session may change its own time limits, so those below stop accidents. What stops intent is the number of
-- connections, the limit of temporary files, and the functions that are taken from PUBLIC: they lock, or write.
DO $$
DECLARE
    users   text := (SELECT string_agg(quote_ident(rolname), ', ') FROM pg_roles
                     WHERE rolname IN ('streamworkers_app', 'streamworkers_owner'));
    login   text;
    taken   regprocedure;
BEGIN
    FOR taken IN
        SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace
          AND (proname ~ '^pg_(try_)?advisory_' OR proname IN ('pg_logical_emit_message', 'lo_create', 'lo_creat',
               'lo_from_bytea', 'lo_put', 'lowrite', 'lo_open', 'lo_truncate', 'lo_truncate64'))
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', taken);
        IF users IS NOT NULL AND taken::text !~ '^lo' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', taken, users);
        END IF;
    END LOOP;
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    FOR login IN
        SELECT quote_ident(m.rolname) FROM pg_roles m
        JOIN pg_auth_members a ON a.member = m.oid JOIN pg_roles g ON g.oid = a.roleid
        WHERE g.rolname = 'streamworkers_readonly' AND m.rolcanlogin
    LOOP
        EXECUTE format('ALTER ROLE %s CONNECTION LIMIT 10', login);
        EXECUTE format('ALTER ROLE %s SET default_transaction_read_only = on', login);
        EXECUTE format('ALTER ROLE %s SET statement_timeout = ''30s''', login);
        EXECUTE format('ALTER ROLE %s SET lock_timeout = ''2s''', login);
        EXECUTE format('ALTER ROLE %s SET idle_in_transaction_session_timeout = ''10s''', login);
        EXECUTE format('ALTER ROLE %s SET idle_session_timeout = ''5h''', login);
        EXECUTE format('ALTER ROLE %s SET temp_file_limit = ''1GB''', login);
        EXECUTE format('ALTER ROLE %s SET max_parallel_workers_per_gather = 0', login);
    END LOOP;
END
$$;
