-- What other programs sent, and what came of each message: a row in the transaction of what it does.
CREATE TABLE received_messages (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel         text        NOT NULL,  -- the channel or stream by its name in Redis
    source          text        NOT NULL,  -- which of them it is, as in logs and metrics
    kind            text,                  -- the type that the message says it has
    external_id     text,                  -- its job_id, event_id or message_id
    sender          text,                  -- who sends it, if it says so
    state           text        NOT NULL CHECK (state IN ('accepted', 'repeated', 'ignored', 'rejected')),
    reason          text        NOT NULL,
    detail          text        NOT NULL,
    sent_at         timestamptz NOT NULL,  -- by Redis' clock
    received_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    received_by           jsonb       NOT NULL,  -- replica → how often; one message is received_by by all of them
    entry_id        text,                  -- of a stream
    raw_digest      bytea,
    content_digest  bytea,                 -- of the content without its times; null if there is none
    content         bytea,                 -- its first bytes
    content_bytes   bigint,
    runs            bigint[]    NOT NULL DEFAULT '{}',
    notification_id uuid,
    replayed_at     timestamptz,
    replayed_by     text,
    -- A row that counts messages instead of holding one: those of an hour, beyond the first ones.
    counted_from    timestamptz,
    times           bigint      NOT NULL DEFAULT 1,
    last_at         timestamptz,
    CHECK ((counted_from IS NULL) = (content IS NOT NULL)),
    CONSTRAINT received_messages_received_by_shape CHECK (jsonb_typeof(received_by) = 'object'),
    CONSTRAINT received_messages_moments CHECK (
        sent_at BETWEEN '0001-01-03' AND '9999-12-28' AND received_at BETWEEN '0001-01-03' AND '9999-12-28'
        AND (replayed_at IS NULL OR replayed_at BETWEEN '0001-01-03' AND '9999-12-28')
        AND (counted_from IS NULL OR counted_from BETWEEN '0001-01-03' AND '9999-12-28')
        AND (last_at IS NULL OR last_at BETWEEN '0001-01-03' AND '9999-12-28'))
) WITH (fillfactor = 80);

-- For lists, and for what is old.
CREATE INDEX received_messages_of_state ON received_messages (state, id DESC);
CREATE INDEX received_messages_of_channel ON received_messages (channel, id DESC);
CREATE INDEX received_messages_age ON received_messages (received_at);
-- How many of an hour have a row; the row that counts the others.
CREATE INDEX received_messages_of_hour ON received_messages (channel, state, received_at)
    WHERE state <> 'accepted' AND counted_from IS NULL;
CREATE UNIQUE INDEX received_messages_counted ON received_messages (channel, state, reason, counted_from)
    WHERE counted_from IS NOT NULL;
-- Whether a message is there already: its entry, the same bytes as another replica received_by them, the same content.
CREATE UNIQUE INDEX received_messages_entry ON received_messages (channel, entry_id) WHERE entry_id IS NOT NULL;
CREATE INDEX received_messages_copies ON received_messages (raw_digest, sent_at)
    WHERE entry_id IS NULL AND counted_from IS NULL;
CREATE INDEX received_messages_accepted ON received_messages (content_digest, sent_at) WHERE state = 'accepted';
