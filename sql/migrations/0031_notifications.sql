-- Notifications: what users have to know, how they want it, and each delivery of it.

-- One place where a user can be reached. Its secrets are not here: an address may name a variable of the environment.
CREATE TABLE endpoints (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id      text        NOT NULL REFERENCES users,
    name         text        NOT NULL CHECK (name <> '' AND length(name) <= 100),
    channel      text        NOT NULL CHECK (channel ~ '^[a-z][a-z0-9_]{0,63}$'),
    address      text        NOT NULL CHECK (address <> '' AND length(address) <= 2000),
    settings     jsonb       NOT NULL DEFAULT '{}',
    verified_at  timestamptz,             -- null: nothing is sent but the code that verifies it
    code_hash    bytea,                   -- of that code
    code_expires_at timestamptz,
    code_tries   integer     NOT NULL DEFAULT 0,
    off_at       timestamptz,             -- switched off by its provider or its owner: nothing is sent
    off_reason   text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   text        NOT NULL
);
CREATE UNIQUE INDEX endpoints_name ON endpoints (user_id, name);
CREATE UNIQUE INDEX endpoints_address ON endpoints (user_id, channel, address);

-- How a user wants notifications of a type on a channel; '*' stands for all that have no row of their own.
CREATE TABLE notification_preferences (
    user_id        text NOT NULL REFERENCES users,
    type           text NOT NULL CHECK (type <> ''),
    channel        text NOT NULL CHECK (channel <> ''),
    mode           text NOT NULL CHECK (mode IN ('instant', 'digest', 'off')),
    digest_minutes integer CHECK (digest_minutes BETWEEN 1 AND 10080),
    digest_at      time,                  -- local time of a daily digest, in `zone`
    zone           text,
    PRIMARY KEY (user_id, type, channel),
    CHECK (digest_at IS NULL OR (digest_minutes IS NULL AND zone IS NOT NULL))
);

-- Local times between which a user gets nothing but what is urgent.
CREATE TABLE quiet_hours (
    user_id text PRIMARY KEY REFERENCES users,
    starts  time NOT NULL,
    ends    time NOT NULL CHECK (ends <> starts),
    zone    text NOT NULL
);

CREATE TABLE notifications (
    id         uuid        PRIMARY KEY,   -- the `event_id` of the event that it was made of
    user_id    text        NOT NULL REFERENCES users,
    type       text        NOT NULL CHECK (type ~ '^[a-z][a-z0-9_]{0,63}$'),
    dedup_key  text        NOT NULL CHECK (dedup_key <> '' AND length(dedup_key) <= 500),
    priority   text        NOT NULL CHECK (priority IN ('low', 'normal', 'high', 'urgent')),
    group_key  text,
    data       jsonb       NOT NULL,
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    routed_at  timestamptz,               -- null: its deliveries are not made yet
    UNIQUE (user_id, dedup_key)
);
CREATE INDEX notifications_unrouted ON notifications (created_at) WHERE routed_at IS NULL;
CREATE INDEX notifications_storm ON notifications (user_id, type, created_at);
CREATE INDEX notifications_created ON notifications (created_at);

-- Events on the channel of notifications that no notification could be made of.
CREATE TABLE rejected_notifications (
    event_id   uuid        PRIMARY KEY,
    payload    jsonb       NOT NULL,
    reason     text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- One message to one endpoint: of a notification, or of several that became one digest.
CREATE TABLE deliveries (
    id          uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id     text        NOT NULL REFERENCES users,
    endpoint_id bigint      REFERENCES endpoints ON DELETE SET NULL,  -- null: no endpoint, or it was removed
    channel     text        NOT NULL,     -- '' for a user without an endpoint
    type        text        NOT NULL,
    priority    text        NOT NULL CHECK (priority IN ('low', 'normal', 'high', 'urgent')),
    is_digest   boolean     NOT NULL DEFAULT false,
    state       text        NOT NULL DEFAULT 'queued' CHECK (state IN
        ('queued', 'deferred', 'sending', 'sent', 'ambiguous', 'failed', 'dead', 'suppressed')),
    reason      text,                     -- of a state that is not queued, sending or sent
    not_before  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,
    attempts    integer     NOT NULL DEFAULT 0,  -- calls that were answered with no, and unknown ones
    claim       uuid,                     -- of the call under way
    claimed_at  timestamptz,
    ambiguities integer     NOT NULL DEFAULT 0,  -- calls of which nobody knows whether they took effect
    run_id      bigint,                   -- the run of `deliver` in which it is an item
    run_day     date,
    content     jsonb,                    -- what is said, before any channel; null until it is made, and after retention
    parts       jsonb,                    -- what is sent, an array with one element for each call
    picture     bytea,
    parts_sent  integer     NOT NULL DEFAULT 0,
    provider_id text,                     -- the provider's id of the first part
    sent_at     timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CHECK ((run_id IS NULL) = (run_day IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX deliveries_due ON deliveries (not_before, created_at) WHERE state IN ('queued', 'deferred', 'failed');
CREATE INDEX deliveries_admitted ON deliveries (run_id)
    WHERE run_id IS NOT NULL AND state IN ('queued', 'deferred', 'failed', 'sending');
CREATE INDEX deliveries_endpoint ON deliveries (endpoint_id, state);
CREATE INDEX deliveries_created ON deliveries (created_at);

CREATE TABLE delivery_notifications (
    delivery_id     uuid NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    notification_id uuid NOT NULL REFERENCES notifications ON DELETE CASCADE,
    PRIMARY KEY (delivery_id, notification_id)
);
CREATE INDEX delivery_notifications_of ON delivery_notifications (notification_id);

SELECT grant_streamworkers_roles();
