-- Entries that were found in a queue and are no items of ours, with their bytes, until somebody has looked at them.
CREATE TABLE refused_entries (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue      text        NOT NULL,
    entry_id   text        NOT NULL,                  -- in the stream, when it was refused
    reason     text        NOT NULL,
    size       integer     NOT NULL,                  -- of the payload; at most its first MiB is kept
    payload    bytea       NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
