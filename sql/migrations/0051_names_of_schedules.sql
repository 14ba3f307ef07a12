-- Names of schedules may have hyphens, as in streamworkers/schedules/name_rule.py. And schedules do not come after each
-- other in a circle, whichever program writes them.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

ALTER TABLE schedules DROP CONSTRAINT schedules_name_check;
ALTER TABLE schedules ADD CONSTRAINT schedules_name_check CHECK (name ~ '^[a-z][a-z0-9_-]{0,63}$');

-- At the commit, so that rows may be written in any order; one transaction at a time, so that two that write one half of a
-- circle each do not pass each other. Edits by commands hold this lock already.
CREATE FUNCTION forbid_circle_of_schedules() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    path      text[];
    following text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('schedules'));
    SELECT ARRAY[name], after INTO path, following FROM schedules WHERE id = NEW.id;
    WHILE following IS NOT NULL LOOP
        path := path || following;
        IF following = ANY (path[:cardinality(path) - 1]) THEN
            RAISE EXCEPTION 'schedules come after each other in a circle: %', array_to_string(path, ' after ')
                USING ERRCODE = 'check_violation', TABLE = 'schedules', CONSTRAINT = 'schedules_no_circle';
        END IF;
        SELECT after INTO following FROM schedules WHERE name = following;
    END LOOP;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER schedules_no_circle AFTER INSERT OR UPDATE OF name, after ON schedules
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.after IS NOT NULL) EXECUTE FUNCTION forbid_circle_of_schedules();
