-- The HTTP API: tokens, answers that are repeated for a key, and the audit log.

-- Only the SHA-256 of a token is kept: it has 256 random bits, so nothing slower is needed, and the index finds it.
CREATE TABLE api_tokens (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text        NOT NULL CHECK (name <> '' AND length(name) <= 100),
    user_id      text        NOT NULL REFERENCES users,
    scopes       text[]      NOT NULL CHECK (scopes <@ ARRAY['read', 'run', 'schedule', 'alerts', 'notify', 'admin']),
    secret_hash  bytea       NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by   text        NOT NULL,
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz,                             -- written at most once a minute
    revoked_at   timestamptz,                             -- from then on it is rejected; after a rotation, in the future
    rotated_from bigint      REFERENCES api_tokens,
    version      integer     NOT NULL DEFAULT 1
);

-- The answers to requests with a key, written in the transaction of the effect.
CREATE TABLE api_idempotency (
    token_id    bigint      NOT NULL REFERENCES api_tokens,
    key         text        NOT NULL CHECK (key <> '' AND length(key) <= 255),
    method      text        NOT NULL,
    path        text        NOT NULL,
    body_sha256 bytea       NOT NULL,
    status      integer     NOT NULL,
    body        bytea       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (token_id, key)
);
CREATE INDEX api_idempotency_age ON api_idempotency USING brin (created_at);

-- Who changed what, in the transaction of the change; names are copied, so that the row outlives what it names. A row keeps
-- its transaction and the cluster whose number that is, which a restored copy is not: seals cover whole transactions.
CREATE TABLE audit_log (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    transaction xid8        NOT NULL DEFAULT pg_current_xact_id(),
    cluster     bigint      NOT NULL DEFAULT (pg_control_system()).system_identifier,
    actor_kind  text        NOT NULL,
    actor_user  text        NOT NULL,
    actor_token text,
    address     inet,
    request_id  text,
    action      text        NOT NULL,
    object_type text        NOT NULL,
    object_id   text        NOT NULL,
    before      jsonb,
    after       jsonb,
    outcome     text        NOT NULL CHECK (outcome IN ('ok', 'rejected', 'failed')),
    reason      text
);
CREATE INDEX audit_log_transaction ON audit_log (transaction);
CREATE INDEX audit_log_object ON audit_log (object_type, object_id, id);

-- Each row seals the transactions from `from_transaction` up to, but not, `to_transaction`, all of which had ended.
CREATE TABLE audit_seals (
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster          bigint      NOT NULL,
    from_transaction xid8        NOT NULL,
    to_transaction   xid8        NOT NULL,
    row_count        bigint      NOT NULL,
    sha256           bytea       NOT NULL,
    previous         bytea,
    sealed_at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- Two processes that seal at once cannot both continue the chain.
CREATE UNIQUE INDEX audit_seals_chain ON audit_seals (previous) NULLS NOT DISTINCT;

ALTER TABLE processes DROP CONSTRAINT processes_kind_check;
ALTER TABLE processes ADD CONSTRAINT processes_kind_check CHECK (kind IN ('supervisor', 'scheduler', 'telegram', 'api'));

-- The newest runs of a job, a schedule and a user.
CREATE INDEX runs_of_job ON runs (job, id DESC);
CREATE INDEX runs_of_schedule ON runs (schedule_id, id DESC) WHERE schedule_id IS NOT NULL;
CREATE INDEX runs_of_user ON runs (requested_by, id DESC);

-- As before, and: the audit log is only added to, and tokens and kept answers are for the application alone.
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
        GRANT SELECT ON client_runs TO streamworkers_client;
        GRANT EXECUTE ON FUNCTION submit_runs(jsonb), submit_run(jsonb) TO streamworkers_client;
    END IF;
END
$$;

SELECT grant_streamworkers_roles();
