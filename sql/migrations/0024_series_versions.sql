-- Which bars a result was computed from. Each change of stored bars, other than new ones behind the newest, gives their
-- series a new version; results carry the version that they were computed from.

CREATE TABLE stored_series (
    symbol                text        NOT NULL,
    timeframe             text        NOT NULL,
    version               integer     NOT NULL DEFAULT 0,
    newest                timestamptz,               -- start of the newest bar, as results have it; null without bars
    outdated_indicators_from timestamptz,               -- results of bars from there on are to be computed again
    outdated_patterns_from   timestamptz,
    PRIMARY KEY (symbol, timeframe)
);

CREATE TABLE series_versions (
    symbol       text        NOT NULL,
    timeframe    text        NOT NULL,
    version      integer     NOT NULL,
    changed_from timestamptz NOT NULL,               -- start of the first bar that changed
    changed_at   timestamptz NOT NULL DEFAULT now(),
    provider     text,                               -- of the load that made the version, null if it was none
    adjusted     boolean,
    adjusted_on  date,
    last_split   date,
    PRIMARY KEY (symbol, timeframe, version)
);

ALTER TABLE indicator_results ADD COLUMN series_version integer NOT NULL DEFAULT 0;
ALTER TABLE daily_patterns ADD COLUMN series_version integer NOT NULL DEFAULT 0;

-- Called once for a statement, with the timeframe and the column of the time.
CREATE FUNCTION note_changed_bars() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moment constant text := CASE TG_ARGV[1]
        WHEN 'date' THEN '%s::timestamp AT TIME ZONE ''America/New_York''' ELSE '%s' END;
    place  constant text := quote_ident(TG_ARGV[1]);
    rows   constant text := CASE TG_OP
        WHEN 'INSERT' THEN 'new_bars' WHEN 'DELETE' THEN 'old_bars'
        ELSE format('(SELECT symbol, %1$s FROM new_bars UNION ALL SELECT symbol, %1$s FROM old_bars)', place) END;
BEGIN
    EXECUTE format($sql$
        WITH touched AS (
            SELECT symbol, %1$s AS first FROM (SELECT symbol, min(%2$s) AS time FROM %3$s r GROUP BY symbol) g
        ), changed AS (
            UPDATE stored_series s
            SET version = s.version + 1,
                outdated_indicators_from = least(s.outdated_indicators_from, t.first),
                outdated_patterns_from = least(s.outdated_patterns_from, t.first)
            FROM touched t WHERE s.symbol = t.symbol AND s.timeframe = $1 AND t.first <= s.newest
            RETURNING s.symbol, s.version, t.first
        )
        INSERT INTO series_versions
            (symbol, timeframe, version, changed_from, provider, adjusted, adjusted_on, last_split)
        SELECT c.symbol, $1, c.version, c.first, b.provider, b.adjusted, b.adjusted_on, b.last_split
        FROM changed c LEFT JOIN series_sources b ON b.symbol = c.symbol AND b.timeframe = $1$sql$,
        format(moment, 'g.time'), place, rows) USING TG_ARGV[0];
    EXECUTE format($sql$
        INSERT INTO stored_series AS s (symbol, timeframe, newest)
        SELECT g.symbol, $1, (SELECT %1$s FROM (SELECT max(t.%2$s) AS time FROM %4$I t WHERE t.symbol = g.symbol) n)
        FROM (SELECT DISTINCT symbol FROM %3$s r) g ORDER BY 1
        ON CONFLICT (symbol, timeframe) DO UPDATE SET newest = excluded.newest
        WHERE s.newest IS DISTINCT FROM excluded.newest$sql$,
        format(moment, 'n.time'), place, rows, TG_TABLE_NAME) USING TG_ARGV[0];
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION note_changed_bars() FROM PUBLIC;

DO $$
DECLARE
    frame record;
BEGIN
    FOR frame IN SELECT * FROM (VALUES
            ('1min', 'ohlcv_1min', 'timestamp'), ('hour', 'ohlcv_hourly', 'timestamp'), ('day', 'ohlcv_daily', 'date'),
            ('week', 'ohlcv_weekly', 'date'), ('month', 'ohlcv_monthly', 'date')) AS frames (name, bars, place) LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON %I REFERENCING NEW TABLE AS new_bars'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION note_changed_bars(%L, %L)',
                       frame.bars || '_inserted', frame.bars, frame.name, frame.place);
        EXECUTE format('CREATE TRIGGER %I AFTER UPDATE ON %I REFERENCING NEW TABLE AS new_bars OLD TABLE AS old_bars'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION note_changed_bars(%L, %L)',
                       frame.bars || '_updated', frame.bars, frame.name, frame.place);
        EXECUTE format('CREATE TRIGGER %I AFTER DELETE ON %I REFERENCING OLD TABLE AS old_bars'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION note_changed_bars(%L, %L)',
                       frame.bars || '_deleted', frame.bars, frame.name, frame.place);
        -- From symbol to symbol through the index: the table of minutes is large.
        EXECUTE format($sql$
            WITH RECURSIVE symbols (symbol) AS (
                (SELECT symbol FROM %1$I ORDER BY symbol LIMIT 1)
                UNION ALL
                SELECT (SELECT t.symbol FROM %1$I t WHERE t.symbol > s.symbol ORDER BY t.symbol LIMIT 1)
                FROM symbols s WHERE s.symbol IS NOT NULL
            )
            INSERT INTO stored_series (symbol, timeframe, newest)
            SELECT s.symbol, %2$L, (SELECT max(t.%3$I)%4$s FROM %1$I t WHERE t.symbol = s.symbol)
            FROM symbols s WHERE s.symbol IS NOT NULL$sql$, frame.bars, frame.name, frame.place,
            CASE WHEN frame.place = 'date' THEN '::timestamp AT TIME ZONE ''America/New_York''' ELSE '' END);
    END LOOP;
END
$$;
