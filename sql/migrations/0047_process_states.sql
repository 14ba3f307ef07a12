-- The states of processes: a row whenever one changes, beside their rows in `processes`.
CREATE TABLE process_states (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    process text        NOT NULL,
    kind    text        NOT NULL,
    host    text        NOT NULL,
    version text        NOT NULL,
    state   text        NOT NULL CHECK (state IN ('ok', 'degraded', 'silent', 'ended')),
    message text        NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX process_states_of ON process_states (process, id DESC);
CREATE INDEX process_states_age ON process_states (at);

-- The newest of them. A process of an earlier release has none until it is silent.
ALTER TABLE processes ADD COLUMN state text NOT NULL DEFAULT '';
