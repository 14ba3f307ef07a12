-- Limits that a schedule sets for its runs: how long one may take, and by what time of day it is to be done.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

ALTER TABLE schedules
    ADD COLUMN max_run_seconds integer CHECK (max_run_seconds BETWEEN 1 AND 604800),
    ADD COLUMN done_by text CHECK (done_by ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$');

-- A tick's deadline, and whether its work was done by then; null until that is judged.
ALTER TABLE ticks ADD COLUMN done_by_at timestamptz, ADD COLUMN is_done_in_time boolean;
ALTER TABLE ticks ADD CONSTRAINT ticks_done_by_at_shape
    CHECK (done_by_at IS NULL OR done_by_at BETWEEN '0001-01-03' AND '9999-12-28');
CREATE INDEX ticks_undecided_deadlines ON ticks (done_by_at) WHERE done_by_at IS NOT NULL AND is_done_in_time IS NULL;
CREATE INDEX ticks_scheduled ON ticks (scheduled_for DESC, schedule_id);

-- When a retry or a replay opened the run again: the longest time counts from there.
ALTER TABLE runs ADD COLUMN reopened_at timestamptz;
ALTER TABLE runs ADD CONSTRAINT runs_reopened_at_shape
    CHECK (reopened_at IS NULL OR reopened_at BETWEEN '0001-01-03' AND '9999-12-28');

-- The new columns are part of the definition, for the two triggers that see it change.
DO $$
DECLARE
    name    text;
    columns text;
BEGIN
    FOREACH name IN ARRAY ARRAY['schedules_changed', 'schedules_notify'] LOOP
        SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.place) INTO columns
        FROM pg_trigger t CROSS JOIN unnest(t.tgattr::int2[]) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attnum = k.number
        WHERE t.tgrelid = 'schedules'::regclass AND t.tgname = name;
        columns := columns || ', max_run_seconds, done_by';
        EXECUTE format('DROP TRIGGER %I ON schedules', name);
        IF name = 'schedules_changed' THEN
            EXECUTE format('CREATE TRIGGER schedules_changed BEFORE UPDATE OF %s ON schedules'
                           ' FOR EACH ROW EXECUTE FUNCTION schedules_changed()', columns);
        ELSE
            EXECUTE format('CREATE TRIGGER schedules_notify AFTER INSERT OR DELETE OR UPDATE OF %s ON schedules'
                           ' FOR EACH STATEMENT EXECUTE FUNCTION notify_listeners(''streamworkers_schedules'')', columns);
        END IF;
    END LOOP;
END
$$;
