-- Changes of series whose run of `alerts` ended without deciding them are requested again, for a limited number of times.

-- Null where a release before this one has requested it.
ALTER TABLE alert_shards
    ADD COLUMN requested_run bigint,               -- the newest run about the series
    ADD COLUMN requested_at  timestamptz,          -- when it was started
    ADD COLUMN retries integer NOT NULL DEFAULT 0; -- runs about the same change, after the first

CREATE INDEX alert_symbols_blind ON alert_symbols (timeframe, symbol) WHERE until IS NULL AND blind_since IS NOT NULL;

-- Nobody listens: a new or changed alert takes part in the next decision, and the service that starts runs looks each second.
DROP TRIGGER alert_versions_notify ON alert_versions;
