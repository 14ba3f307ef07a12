-- `submit_run` says which symbols have no bars, as `enqueue` does. So the pool says of its jobs which of them need bars.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

-- A process of the release before leaves it as it is.
ALTER TABLE job_types ADD COLUMN needs_bars boolean NOT NULL DEFAULT false;

-- Those of some symbols of which no bar of any timeframe is stored, in their order. One probe of an index for each table,
-- whatever the number of symbols; a join could read all bars.
CREATE FUNCTION find_without_bars(wanted text[]) RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT w.symbol FROM unnest(wanted) WITH ORDINALITY AS w (symbol, place)
    WHERE coalesce((SELECT true FROM ohlcv_daily b WHERE b.symbol = w.symbol LIMIT 1),
                   (SELECT true FROM ohlcv_hourly b WHERE b.symbol = w.symbol LIMIT 1),
                   (SELECT true FROM ohlcv_weekly b WHERE b.symbol = w.symbol LIMIT 1),
                   (SELECT true FROM ohlcv_monthly b WHERE b.symbol = w.symbol LIMIT 1),
                   (SELECT true FROM ohlcv_1min b WHERE b.symbol = w.symbol LIMIT 1)) IS NULL
    ORDER BY w.place
$$;

-- The symbol with bars that was probably meant: in the other case, or with one character more, less, exchanged or other.
-- All that could be are made and looked up, so the number of stored symbols does not matter.
CREATE FUNCTION find_near_symbol(wanted text) RETURNS text LANGUAGE sql STABLE AS $$
    WITH bases AS (SELECT DISTINCT base FROM unnest(ARRAY[wanted, upper(wanted)]) AS base WHERE length(wanted) <= 32),
    places AS (SELECT base, n, left(base, n) AS head, substr(base, n + 1) AS tail
               FROM bases, generate_series(0, length(base)) AS n WHERE length(base) > 2),
    letters AS (SELECT regexp_split_to_table('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-/:=^', '') AS letter),
    made AS (
        SELECT 0 AS rank, upper(wanted) AS symbol
        UNION ALL SELECT 0, lower(wanted)
        UNION ALL SELECT 1, head || substr(tail, 2, 1) || left(tail, 1) || substr(tail, 3) FROM places WHERE length(tail) > 1
        UNION ALL SELECT 2, head || substr(tail, 2) FROM places WHERE tail <> ''
        UNION ALL SELECT 3, head || letter || tail FROM places, letters
        UNION ALL SELECT 4, head || letter || substr(tail, 2) FROM places, letters WHERE tail <> '')
    SELECT symbol FROM (SELECT symbol, min(rank) AS rank FROM made WHERE symbol NOT IN ('', wanted) GROUP BY symbol) AS each
    WHERE coalesce((SELECT true FROM ohlcv_daily b WHERE b.symbol = each.symbol LIMIT 1),
                   (SELECT true FROM ohlcv_hourly b WHERE b.symbol = each.symbol LIMIT 1),
                   (SELECT true FROM series_sources b WHERE b.symbol = each.symbol LIMIT 1))
    ORDER BY rank, symbol LIMIT 1
$$;

-- A sentence about those of some symbols that have no bars, and what may have been meant; null if all have.
CREATE FUNCTION describe_without_bars(wanted text[]) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    most   CONSTANT integer := 5;
    absent text[] := ARRAY(SELECT find_without_bars(wanted));
    meant  text[];
BEGIN
    IF absent = '{}' THEN
        RETURN NULL;
    END IF;
    meant := ARRAY(SELECT near FROM (SELECT DISTINCT find_near_symbol(symbol) AS near FROM unnest(absent[:most]) AS symbol) AS n
                   WHERE near IS NOT NULL ORDER BY near COLLATE "C");
    RETURN format('no bars of %s%s are stored; %s', array_to_string(absent[:most], ', '),
        CASE WHEN cardinality(absent) > most THEN format(' and %s more', cardinality(absent) - most) ELSE '' END,
        CASE WHEN meant = '{}' THEN '`streamworkers load --symbols` loads them'
             ELSE format('did you mean %s?', array_to_string(meant, ', ')) END);
END
$$;

-- `submit_runs` as it was, as a part of the new one, whose settings and rights it uses.
ALTER FUNCTION submit_runs(jsonb) RENAME TO insert_submitted_runs;
ALTER FUNCTION insert_submitted_runs(jsonb) SECURITY INVOKER RESET ALL;
REVOKE ALL ON FUNCTION find_without_bars(text[]), find_near_symbol(text), describe_without_bars(text[]) FROM PUBLIC;

-- Submits runs in the caller's transaction, all or none. Of a request whose key is taken, returns the run that has it.
-- `warnings` say what is no error: symbols without bars, of a job that needs them.
CREATE FUNCTION submit_runs(requests jsonb)
RETURNS TABLE (place integer, id bigint, run_id uuid, is_new boolean, warnings text[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    needing text[] := ARRAY(SELECT DISTINCT name FROM job_types WHERE needs_bars);
BEGIN
    RETURN QUERY
        SELECT s.place, s.id, s.run_id, s.is_new,
            CASE WHEN each.request ->> 'job' = ANY (needing) AND EXISTS (
                SELECT FROM jsonb_array_elements_text(each.symbols) AS symbol
                WHERE NOT EXISTS (SELECT FROM ohlcv_daily b WHERE b.symbol = symbol.value))
            THEN array_remove(ARRAY[describe_without_bars(ARRAY(SELECT jsonb_array_elements_text(each.symbols)))], NULL)
            ELSE '{}' END
        FROM insert_submitted_runs(requests) AS s
        CROSS JOIN LATERAL (SELECT requests -> (s.place - 1) AS request) AS r
        CROSS JOIN LATERAL (SELECT r.request, coalesce(nullif(r.request -> 'symbols', 'null'),
                                                       nullif(r.request -> 'items', 'null')) AS symbols) AS each
        ORDER BY s.place;
END
$$;

DROP FUNCTION submit_run(jsonb);
CREATE FUNCTION submit_run(request jsonb) RETURNS TABLE (id bigint, run_id uuid, is_new boolean, warnings text[])
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT id, run_id, is_new, warnings FROM submit_runs(jsonb_build_array(request))
$$;
REVOKE ALL ON FUNCTION submit_runs(jsonb), submit_run(jsonb) FROM PUBLIC;

-- Who could submit goes on until all rights are stated again.
DO $$
DECLARE
    login text;
BEGIN
    FOR login IN SELECT DISTINCT a.grantee::regrole::text
                 FROM pg_proc p, aclexplode(p.proacl) AS a
                 WHERE p.oid = 'insert_submitted_runs(jsonb)'::regprocedure AND a.grantee <> 0 AND a.grantee <> p.proowner
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION submit_runs(jsonb), submit_run(jsonb) TO %s', login);
    END LOOP;
END
$$;
