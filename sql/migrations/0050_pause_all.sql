-- Which schedules `schedules pause --all` paused, so that `resume --all` brings back these and no others.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

ALTER TABLE schedules ADD COLUMN paused_with_all boolean NOT NULL DEFAULT false;

CREATE FUNCTION schedules_resumed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.paused_with_all := false;
    RETURN NEW;
END
$$;
CREATE TRIGGER schedules_resumed BEFORE UPDATE OF enabled ON schedules
    FOR EACH ROW WHEN (NEW.enabled AND NEW.paused_with_all) EXECUTE FUNCTION schedules_resumed();
