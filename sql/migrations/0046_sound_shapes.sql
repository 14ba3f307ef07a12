-- What other programs write into our tables by SQL has the shapes that readers take for granted: JSON of the right kind,
-- and moments that every program can hold, which `infinity` and the year 20000 are not. One such row would stop the
-- reader of all rows beside it. What breaks a rule already is mended first.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

DO $$
DECLARE
    shape  record;
    times  record;
    first  CONSTANT text := '''0001-01-03''';
    last   CONSTANT text := '''9999-12-28''';
BEGIN
    FOR shape IN SELECT * FROM (VALUES
        ('definition_groups', 'metadata', 'object'), ('indicator_definitions', 'params', 'object'),
        ('pattern_definitions', 'params', 'object'), ('runs', 'parameters', 'object'), ('runs', 'request', 'object'),
        ('ticks', 'detail', 'object'), ('health_checks', 'detail', 'object'), ('processes', 'doing', 'object'),
        ('job_types', 'params_schema', 'object'), ('alert_versions', 'document', 'object'),
        ('alert_state', 'sides', 'object'), ('alert_firings', 'state_after', 'object'),
        ('endpoints', 'settings', 'object'), ('notifications', 'data', 'object'), ('deliveries', 'content', 'object'),
        ('deliveries', 'parts', 'array'), ('outbox', 'payload', 'object')
    ) AS s (name, field, kind)
    LOOP
        EXECUTE format('UPDATE %1$I SET %2$I = %3$L WHERE jsonb_typeof(%2$I) <> %4$L', shape.name, shape.field,
                       CASE shape.kind WHEN 'array' THEN '[]' ELSE '{}' END, shape.kind);
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (jsonb_typeof(%I) = %L)', shape.name,
                       shape.name || '_' || shape.field || '_shape', shape.field, shape.kind);
    END LOOP;
    UPDATE runs SET item_count = 0 WHERE item_count < 0;
    ALTER TABLE runs ADD CONSTRAINT runs_item_count_shape CHECK (item_count >= 0);
    -- An alert about a timeframe that there is not would keep the others from being looked after.
    ALTER TABLE alert_symbols ADD CONSTRAINT alert_symbols_timeframe_shape
        CHECK (timeframe IN ('1min', 'hour', 'day', 'week', 'month')) NOT VALID;
    ALTER TABLE alert_shards ADD CONSTRAINT alert_shards_timeframe_shape
        CHECK (timeframe IN ('1min', 'hour', 'day', 'week', 'month')) NOT VALID;
    FOR shape IN SELECT * FROM (VALUES ('indicator_definitions', 'timeframes'), ('pattern_definitions', 'timeframes'),
        ('api_tokens', 'scopes'), ('telegram_links', 'scopes')) AS s (name, field)
    LOOP
        EXECUTE format('UPDATE %1$I SET %2$I = array_remove(%2$I, NULL) WHERE array_position(%2$I, NULL) IS NOT NULL',
                       shape.name, shape.field);
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (array_position(%I, NULL) IS NULL)', shape.name,
                       shape.name || '_' || shape.field || '_shape', shape.field);
    END LOOP;
    -- Not of bars, results and items, which are many, nor of what only triggers write or nobody may change.
    FOR times IN
        SELECT c.relname AS name,
               string_agg(format('(%1$I IS NULL OR %1$I BETWEEN %2$s AND %3$s)', a.attname, first, last), ' AND ') AS rule,
               string_agg(format('%1$I = least(greatest(%1$I, %2$s), %3$s)', a.attname, first, last), ', ') AS mended
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND NOT c.relispartition
            AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
            AND a.atttypid IN ('timestamptz'::regtype, 'date'::regtype)
            AND c.relname <> ALL (ARRAY['schema_migrations', 'audit_log', 'audit_seals', 'run_events', 'indicator_results',
                'daily_patterns', 'ohlcv_daily', 'ohlcv_weekly', 'ohlcv_monthly', 'ohlcv_hourly'])
        GROUP BY c.relname
    LOOP
        EXECUTE format('UPDATE %I SET %s WHERE NOT (%s)', times.name, times.mended, times.rule);
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (%s)', times.name, times.name || '_moments', times.rule);
    END LOOP;
END
$$;
