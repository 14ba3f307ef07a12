-- How often an item was opened again by a replay or a retry: an entry belongs to one opening of its item, so that one
-- left over from before, with the attempts that were used up then, is not taken for one of now.
ALTER TABLE job_run_items ADD COLUMN opening smallint NOT NULL DEFAULT 0;
