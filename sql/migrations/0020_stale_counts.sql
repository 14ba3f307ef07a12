-- How many items of an ended run completed without a result, because their symbols were stale. Null for runs whose job
-- sets no limit (the parameter `max_stale`), and for those that ended before. A release before this one leaves it null.
ALTER TABLE runs ADD COLUMN stale_count integer;
