-- The writers of bars record changes and versions in one statement; the triggers, which copied every bar, go.
ALTER TABLE series_state
    ADD COLUMN version                  integer NOT NULL DEFAULT 0,
    ADD COLUMN outdated_indicators_from timestamptz,  -- results of bars from there on are to be computed again
    ADD COLUMN outdated_patterns_from   timestamptz;

DO $$
DECLARE
    bars regclass;
BEGIN
    FOREACH bars IN ARRAY ARRAY['ohlcv_1min', 'ohlcv_hourly', 'ohlcv_daily', 'ohlcv_weekly', 'ohlcv_monthly']::regclass[] LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', bars || '_inserted', bars);
        EXECUTE format('DROP TRIGGER %I ON %s', bars || '_updated', bars);
        EXECUTE format('DROP TRIGGER %I ON %s', bars || '_deleted', bars);
    END LOOP;
END
$$;
DROP FUNCTION note_changed_bars();

INSERT INTO series_state AS e
    (timeframe, symbol, complete_through, version, outdated_indicators_from, outdated_patterns_from)
SELECT timeframe, symbol, newest, version, outdated_indicators_from, outdated_patterns_from
FROM stored_series
WHERE version > 0 OR outdated_indicators_from IS NOT NULL OR outdated_patterns_from IS NOT NULL
ON CONFLICT (timeframe, symbol) DO UPDATE
SET version = excluded.version, outdated_indicators_from = excluded.outdated_indicators_from,
    outdated_patterns_from = excluded.outdated_patterns_from;
DROP TABLE stored_series;
-- For processes that began before: they see the versions, and leave outdated results to those that begin later.
CREATE VIEW stored_series AS
SELECT symbol, timeframe, version, NULL::timestamptz AS newest, outdated_indicators_from, outdated_patterns_from
FROM series_state;

CREATE INDEX series_versions_age ON series_versions (changed_at);
