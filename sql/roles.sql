-- The three groups of `streamworkers migrate --roles`; run by a role that may create roles. Their rights are in rights.sql.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['streamworkers_app', 'streamworkers_readonly', 'streamworkers_client'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- meanwhile made for another database of the server
            END;
        END IF;
    END LOOP;
END
$$;
