-- Lists of runs: ascending walks that miss nothing, and an index for each way to choose runs.

-- The transaction that made a run. Sequences give numbers before transactions commit, so that a run with a small number can
-- appear late; all runs of transactions below the oldest one in flight are there. Runs of earlier releases count as oldest.
ALTER TABLE runs ADD COLUMN transaction xid8 NOT NULL DEFAULT '0';
ALTER TABLE runs ALTER COLUMN transaction SET DEFAULT pg_current_xact_id();
CREATE INDEX runs_in_order ON runs (transaction, id);

-- Almost every run completes: the newest ones of that state are found without an index of it.
CREATE INDEX runs_of_status ON runs (status, id DESC) WHERE status <> 'COMPLETED';
CREATE INDEX runs_of_schedule_name ON runs (schedule, id DESC) WHERE schedule IS NOT NULL;
CREATE INDEX runs_created ON runs (created_at);
