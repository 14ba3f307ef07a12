-- The account of ticks: by which times a schedule ticked, from when to when, and how far its ticks are decided. Planning
-- begins at the last tick that was decided, and what was due by old times is decided after a change as well.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

CREATE TABLE schedule_timings (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule_id   bigint      NOT NULL,             -- no reference: timings and ticks outlive their schedule
    schedule      text        NOT NULL,             -- its newest name
    cron          text,                             -- null: it does not tick
    timezone      text        NOT NULL,
    calendar      text,
    enabled       boolean     NOT NULL,
    valid_from    timestamptz NOT NULL,             -- its ticks are later than this,
    valid_to      timestamptz,                      -- and not later than this; null: it is valid now
    ended_by      text CHECK (ended_by IN ('change', 'pause', 'removal')),
    decided_until timestamptz,                      -- of an ended one: its last decided tick, and that one's label
    decided_label timestamp,
    decided_at    timestamptz,                      -- of an ended one: when the last of its ticks was decided
    problem       text,                             -- why its ticks could not be found, where they could not
    kept_from     timestamptz,                      -- ticks that were decided before may have been deleted
    CONSTRAINT schedule_timings_end_shape CHECK ((valid_to IS NULL) = (ended_by IS NULL)),
    CONSTRAINT schedule_timings_moments CHECK (
        valid_from BETWEEN '0001-01-03' AND '9999-12-28'
        AND (valid_to IS NULL OR valid_to BETWEEN '0001-01-03' AND '9999-12-28')
        AND (decided_until IS NULL OR decided_until BETWEEN '0001-01-03' AND '9999-12-28')
        AND (decided_at IS NULL OR decided_at BETWEEN '0001-01-03' AND '9999-12-28')
        AND (kept_from IS NULL OR kept_from BETWEEN '0001-01-03' AND '9999-12-28'))
);
CREATE UNIQUE INDEX schedule_timings_valid ON schedule_timings (schedule_id) WHERE valid_to IS NULL;
CREATE INDEX schedule_timings_undecided ON schedule_timings (schedule_id) WHERE valid_to IS NOT NULL AND decided_at IS NULL;
CREATE INDEX schedule_timings_of ON schedule_timings (schedule_id, valid_from);
CREATE INDEX schedule_timings_named ON schedule_timings (schedule, valid_from);

ALTER TABLE schedules
    ADD COLUMN decided_until timestamptz,           -- the last decided tick since `planned_from`
    ADD COLUMN decided_label timestamp,             -- what that tick keeps when zones or sessions change; see cursor.py
    ADD CONSTRAINT schedules_decided_until_shape CHECK (decided_until IS NULL OR decided_until BETWEEN '0001-01-03' AND '9999-12-28');
ALTER TABLE ticks
    DROP CONSTRAINT ticks_schedule_id_fkey,         -- a removed schedule keeps its ticks
    ADD COLUMN timing_id bigint;                    -- by which times it was a tick; null: started by hand

-- The account begins now: all ticks before the planned one are decided, whichever they were.
UPDATE schedules SET planned_from = least(next_run_at - interval '1 microsecond', clock_timestamp())
WHERE next_run_at IS NOT NULL;
INSERT INTO schedule_timings (schedule_id, schedule, cron, timezone, calendar, enabled, valid_from)
SELECT id, name, cron, timezone, calendar, enabled, planned_from FROM schedules;

-- A change of when a schedule ticks makes the scheduler plan it again from now on; what was due until now stays due.
CREATE OR REPLACE FUNCTION schedules_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    IF NEW.jitter_seconds <> OLD.jitter_seconds THEN
        NEW.due_at := NULL;
    END IF;
    IF (NEW.cron, NEW.timezone, NEW.calendar, NEW.enabled)
       IS DISTINCT FROM (OLD.cron, OLD.timezone, OLD.calendar, OLD.enabled) THEN
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

CREATE FUNCTION record_schedule_timing() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ends boolean := TG_OP = 'DELETE';
BEGIN
    IF TG_OP = 'UPDATE' THEN
        ends := (NEW.cron, NEW.timezone, NEW.calendar, NEW.enabled)
            IS DISTINCT FROM (OLD.cron, OLD.timezone, OLD.calendar, OLD.enabled);
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
        INSERT INTO schedule_timings (schedule_id, schedule, cron, timezone, calendar, enabled, valid_from)
        VALUES (NEW.id, NEW.name, NEW.cron, NEW.timezone, NEW.calendar, NEW.enabled, NEW.planned_from);
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
CREATE TRIGGER schedules_timing AFTER INSERT OR DELETE OR UPDATE OF name, cron, timezone, calendar, enabled
ON schedules FOR EACH ROW EXECUTE FUNCTION record_schedule_timing();
