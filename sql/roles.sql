-- The three groups of `streamworkers migrate --roles`; run by a role that may create roles.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_app') THEN
        CREATE ROLE streamworkers_app NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_readonly') THEN
        CREATE ROLE streamworkers_readonly NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_client') THEN
        CREATE ROLE streamworkers_client NOLOGIN;
    END IF;
END
$$;
