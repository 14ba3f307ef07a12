-- Queues that are paused: workers begin nothing of them. A flag in Redis says so to every read; this table is the truth.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

CREATE TABLE queue_pauses (
    queue     text        PRIMARY KEY CHECK (queue ~ '^[a-z][a-z0-9_]{0,63}$'),
    paused_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    paused_by text        NOT NULL,
    reason    text        NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    CONSTRAINT queue_pauses_moments CHECK (paused_at BETWEEN '0001-01-03' AND '9999-12-28')
);
