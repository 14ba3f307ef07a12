-- Bars in five timeframes and the universes that name sets of symbols.

CREATE TABLE ohlcv_daily (
    symbol     text        NOT NULL,
    date       date        NOT NULL,
    open       numeric     NOT NULL,
    high       numeric     NOT NULL,
    low        numeric     NOT NULL,
    close      numeric     NOT NULL,
    volume     bigint      NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, date)
);
CREATE TABLE ohlcv_weekly  (LIKE ohlcv_daily INCLUDING ALL);
CREATE TABLE ohlcv_monthly (LIKE ohlcv_daily INCLUDING ALL);

CREATE TABLE ohlcv_hourly (
    symbol      text        NOT NULL,
    "timestamp" timestamptz NOT NULL,
    open        numeric     NOT NULL,
    high        numeric     NOT NULL,
    low         numeric     NOT NULL,
    close       numeric     NOT NULL,
    volume      bigint      NOT NULL,
    PRIMARY KEY (symbol, "timestamp")
);

CREATE TABLE ohlcv_1min (LIKE ohlcv_hourly INCLUDING DEFAULTS, PRIMARY KEY (symbol, "timestamp"))
    PARTITION BY RANGE ("timestamp");

-- Makes the partition of ohlcv_1min that holds the month of `moment`. Attaching an existing table takes a
-- weaker lock than CREATE TABLE … PARTITION OF, so readers and writers of other months go on.
CREATE FUNCTION ensure_ohlcv_1min_partition(moment timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first_day date := date_trunc('month', moment AT TIME ZONE 'UTC')::date;
    name text := 'ohlcv_1min_' || to_char(first_day, 'YYYYMM');
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('ensure_ohlcv_1min_partition'));
    -- Asked of the catalogue itself: to_regclass may answer from before the wait.
    IF EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'ohlcv_1min'::regclass AND c.relname = name) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE ohlcv_1min INCLUDING ALL)', name);
    EXECUTE format('ALTER TABLE ohlcv_1min ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name,
                   first_day::text || ' 00:00+00', (first_day + interval '1 month')::date::text || ' 00:00+00');
END
$$;

CREATE TABLE definition_groups (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text        NOT NULL,
    type        text        NOT NULL CHECK (type IN ('ETF', 'THEME', 'SECTOR', 'SEGMENT', 'UNIVERSE', 'CUSTOM')),
    description text        NOT NULL DEFAULT '',
    metadata    jsonb       NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (name, type)
);

CREATE TABLE group_memberships (
    group_id bigint NOT NULL REFERENCES definition_groups ON DELETE CASCADE,
    symbol   text   NOT NULL,
    weight   numeric,
    PRIMARY KEY (group_id, symbol)
);
