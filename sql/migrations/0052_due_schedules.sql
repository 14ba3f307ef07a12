-- The next due schedule is found by its place in the order, however many there are. The terms are those of the query:
-- a schedule that is not planned yet comes first.
CREATE INDEX schedules_due ON schedules (coalesce(due_at, '-infinity'), id) WHERE enabled AND cron IS NOT NULL;
