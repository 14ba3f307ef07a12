-- The end of a schedule: it has no ticks from that moment on. It is one of the times by which a schedule ticks.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

ALTER TABLE schedules ADD COLUMN ends_at timestamptz;
ALTER TABLE schedules ADD CONSTRAINT schedules_ends_at_shape
    CHECK (ends_at IS NULL OR ends_at BETWEEN '0001-01-03' AND '9999-12-28');
ALTER TABLE schedule_timings ADD COLUMN ends_at timestamptz;
ALTER TABLE schedule_timings ADD CONSTRAINT schedule_timings_ends_at_shape
    CHECK (ends_at IS NULL OR ends_at BETWEEN '0001-01-03' AND '9999-12-28');

-- As before, and with the end.
CREATE OR REPLACE FUNCTION schedules_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    IF NEW.jitter_seconds <> OLD.jitter_seconds THEN
        NEW.due_at := NULL;
    END IF;
    IF (NEW.cron, NEW.timezone, NEW.calendar, NEW.ends_at, NEW.enabled)
       IS DISTINCT FROM (OLD.cron, OLD.timezone, OLD.calendar, OLD.ends_at, OLD.enabled) THEN
        NEW.next_run_at := NULL;
        NEW.due_at := NULL;
        NEW.problem := NULL;
        NEW.planned_from := clock_timestamp();
        NEW.decided_until := NULL;
        -- A session that has ticked does not tick again after a pause, even if its close moves.
        IF (NEW.cron, NEW.timezone, NEW.calendar) IS DISTINCT FROM (OLD.cron, OLD.timezone, OLD.calendar) THEN
            NEW.decided_label := NULL;
        END IF;
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION record_schedule_timing() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ends boolean := TG_OP = 'DELETE';
BEGIN
    IF TG_OP = 'UPDATE' THEN
        ends := (NEW.cron, NEW.timezone, NEW.calendar, NEW.ends_at, NEW.enabled)
            IS DISTINCT FROM (OLD.cron, OLD.timezone, OLD.calendar, OLD.ends_at, OLD.enabled);
        IF NEW.name <> OLD.name THEN
            UPDATE schedule_timings SET schedule = NEW.name WHERE schedule_id = NEW.id;
        END IF;
    END IF;
    IF ends THEN
        UPDATE schedule_timings
        SET valid_to = greatest(valid_from, CASE TG_OP WHEN 'DELETE' THEN clock_timestamp() ELSE NEW.planned_from END),
            ended_by = CASE WHEN TG_OP = 'DELETE' THEN 'removal'
                            WHEN NEW.enabled AND NEW.cron IS NOT NULL THEN 'change' ELSE 'pause' END,
            decided_until = OLD.decided_until,
            decided_label = OLD.decided_label,
            decided_at = CASE WHEN NOT enabled OR cron IS NULL THEN clock_timestamp() END
        WHERE schedule_id = OLD.id AND valid_to IS NULL;
    END IF;
    IF TG_OP = 'INSERT' OR (TG_OP = 'UPDATE' AND ends) THEN
        INSERT INTO schedule_timings (schedule_id, schedule, cron, timezone, calendar, ends_at, enabled, valid_from)
        VALUES (NEW.id, NEW.name, NEW.cron, NEW.timezone, NEW.calendar, NEW.ends_at, NEW.enabled, NEW.planned_from);
    END IF;
    IF TG_OP = 'DELETE' THEN
        UPDATE ticks SET done_by_at = NULL
        WHERE schedule_id = OLD.id AND done_by_at IS NOT NULL AND is_done_in_time IS NULL;
        UPDATE ticks SET state = 'skipped', reason = 'the schedule was removed while the tick waited'
        WHERE schedule_id = OLD.id AND state = 'waiting';
    END IF;
    RETURN NULL;
END
$$;
DROP TRIGGER schedules_timing ON schedules;
CREATE TRIGGER schedules_timing AFTER INSERT OR DELETE OR UPDATE OF name, cron, timezone, calendar, ends_at, enabled
ON schedules FOR EACH ROW EXECUTE FUNCTION record_schedule_timing();

-- The new column is part of the definition, for the two triggers that see it change.
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
        columns := columns || ', ends_at';
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
