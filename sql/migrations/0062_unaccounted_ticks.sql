-- How many ticks of the last day the account of each schedule found missing, extra or doubled; null: not looked at yet.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

ALTER TABLE schedules ADD COLUMN unaccounted_ticks integer CHECK (unaccounted_ticks >= 0);
