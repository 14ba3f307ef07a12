-- What a run adds to the totals. `enqueued_totals` has one row for each job, which every enqueue would have to wait for
-- if a process stood still before its commit; rows that are only inserted hold up nobody. The pruner moves them.
CREATE TABLE enqueued_counts (
    queue text NOT NULL,
    job text NOT NULL,
    items bigint NOT NULL
);

-- Supervisors and schedulers: each keeps its row up to date while it runs, and deletes it when it ends in order.
CREATE TABLE processes (
    id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('supervisor', 'scheduler')),
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    doing jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);
