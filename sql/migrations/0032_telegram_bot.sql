-- The Telegram bot: who may use it, which updates are handled, and what waits for a confirmation.

-- For whom a person acts in a chat. In a group each member has a link of their own.
CREATE TABLE telegram_links (
    bot_id        bigint      NOT NULL,
    telegram_user bigint      NOT NULL,
    chat_id       bigint      NOT NULL,
    user_id       text        NOT NULL REFERENCES users,
    scopes        text[]      NOT NULL DEFAULT '{}' CHECK (scopes <@ ARRAY['ops', 'trade']),
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bot_id, telegram_user, chat_id)
);
CREATE INDEX telegram_links_user ON telegram_links (user_id);

-- Codes that make a link: one use, some minutes.
CREATE TABLE telegram_codes (
    code_hash  bytea       PRIMARY KEY,
    user_id    text        NOT NULL REFERENCES users,
    scopes     text[]      NOT NULL DEFAULT '{}',
    created_by text        NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);

-- Wrong codes; too many lock one person in one chat.
CREATE TABLE telegram_tries (
    bot_id        bigint      NOT NULL,
    telegram_user bigint      NOT NULL,
    chat_id       bigint      NOT NULL,
    tries         integer     NOT NULL,
    tried_at      timestamptz NOT NULL,
    locked_until  timestamptz,
    PRIMARY KEY (bot_id, telegram_user, chat_id)
);

-- The updates that were handled, in the transaction of their effects; nothing in them says which chat they came from.
CREATE TABLE telegram_updates (
    bot_id     bigint      NOT NULL,
    update_id  bigint      NOT NULL,
    user_id    text,                 -- who gave a command
    handled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bot_id, update_id)
);
CREATE INDEX telegram_updates_handled ON telegram_updates (handled_at);
CREATE INDEX telegram_updates_commands ON telegram_updates (user_id, handled_at) WHERE user_id IS NOT NULL;

-- The first update that each bot has not handled.
CREATE TABLE telegram_offsets (
    bot_id         bigint PRIMARY KEY,
    next_update_id bigint NOT NULL
);

-- Questions with a button: who may press it, for what, and until when.
CREATE TABLE telegram_confirmations (
    id            uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    bot_id        bigint      NOT NULL,
    telegram_user bigint      NOT NULL,
    chat_id       bigint      NOT NULL,
    action        text        NOT NULL CHECK (action IN ('delete', 'forget')),
    subject       bigint,            -- the alert to delete
    expires_at    timestamptz NOT NULL,
    used_at       timestamptz
);
CREATE INDEX telegram_confirmations_expiry ON telegram_confirmations (expires_at);

-- Chats that were forgotten, by a name that only the key of this installation gives.
CREATE TABLE telegram_forgotten (
    pseudonym    bytea       NOT NULL,
    user_id      text        NOT NULL,
    forgotten_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE telegram_key (
    key bytea NOT NULL
);
CREATE UNIQUE INDEX telegram_key_one ON telegram_key ((true));
INSERT INTO telegram_key
VALUES (decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));

ALTER TABLE processes DROP CONSTRAINT processes_kind_check;
ALTER TABLE processes ADD CONSTRAINT processes_kind_check CHECK (kind IN ('supervisor', 'scheduler', 'telegram'));

-- As before, and: the key of pseudonyms and the codes are for the application alone.
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
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_readonly') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO streamworkers_readonly', here);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO streamworkers_readonly', here);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO streamworkers_readonly', here);
        GRANT EXECUTE ON FUNCTION schedule_progress(timestamptz), evening(timestamptz, time) TO streamworkers_readonly;
        REVOKE ALL ON telegram_key, telegram_codes FROM streamworkers_readonly;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_client') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO streamworkers_client', here);
        GRANT SELECT ON client_runs TO streamworkers_client;
        GRANT EXECUTE ON FUNCTION submit_runs(jsonb), submit_run(jsonb) TO streamworkers_client;
    END IF;
END
$$;

SELECT grant_streamworkers_roles();
