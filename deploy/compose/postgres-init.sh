#!/bin/sh
# Runs once as the superuser, when the data folder is empty: creates three logins, each with its own password and only
# the rights it needs. The groups get their grants from `streamworkers migrate --roles`, and ../postgres/limits.sql runs next.
set -e
: "${OWNER_PASSWORD:?}" "${APP_PASSWORD:?}" "${READONLY_PASSWORD:?}"
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv owner_password OWNER_PASSWORD
\getenv app_password APP_PASSWORD
\getenv readonly_password READONLY_PASSWORD
SELECT format('CREATE ROLE %I NOLOGIN', name)
FROM unnest(ARRAY['streamworkers_app', 'streamworkers_readonly', 'streamworkers_client']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
CREATE ROLE streamworkers_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE streamworkers_worker LOGIN PASSWORD :'app_password' IN ROLE streamworkers_app;
CREATE ROLE streamworkers_grafana LOGIN PASSWORD :'readonly_password' IN ROLE streamworkers_readonly;
SELECT format('ALTER DATABASE %I OWNER TO streamworkers_owner', current_database()) \gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO streamworkers_app, streamworkers_readonly, streamworkers_client', current_database()) \gexec
-- The import of bars copies into a temporary table first.
SELECT format('GRANT TEMPORARY ON DATABASE %I TO streamworkers_app', current_database()) \gexec
SQL
