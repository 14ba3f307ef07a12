-- Providers of bars that are or were away, as the whole fleet sees them: one process probes, and all runs wait.
CREATE TABLE provider_outages (
    provider      text PRIMARY KEY,
    since         timestamptz NOT NULL,
    ended_at      timestamptz,
    next_probe_at timestamptz NOT NULL,
    probes        integer NOT NULL DEFAULT 0,
    error         text NOT NULL
);
