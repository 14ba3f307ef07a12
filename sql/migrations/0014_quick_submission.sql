-- The checks of `submit_runs` at a fraction of their cost; nothing else changes but the unit of the largest request. An empty
-- text from `find_request_error` means that no process has the job.

ALTER TABLE runs SET (fillfactor = 50);   -- a submitted run is updated three times before a worker sees it

CREATE OR REPLACE FUNCTION find_items_error(items jsonb, field text, item_kind text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    wrong    text;
    longest  integer := CASE item_kind WHEN 'symbol' THEN 64 ELSE 200 END;
    unwanted text := CASE item_kind WHEN 'symbol' THEN '[[:cntrl:][:space:]]' ELSE '[[:cntrl:]]' END;
BEGIN
    IF jsonb_typeof(items) <> 'array' OR jsonb_array_length(items) NOT BETWEEN 1 AND 100000 THEN
        RETURN format('%s is not a list of 1 to 100000 texts', field);
    END IF;
    -- Nearly always nothing is wrong, and one pass shows that.
    PERFORM FROM (SELECT item, item #>> '{}' AS key FROM jsonb_array_elements(items) AS item) AS each
    HAVING bool_and(jsonb_typeof(item) = 'string' AND length(key) BETWEEN 1 AND longest AND key !~ unwanted)
        AND count(DISTINCT key COLLATE "C") = count(*);
    IF FOUND THEN
        RETURN NULL;
    END IF;
    SELECT item::text INTO wrong FROM jsonb_array_elements(items) AS item WHERE jsonb_typeof(item) <> 'string' LIMIT 1;
    IF FOUND THEN
        RETURN format('%s has %s, which is not a text', field, left(wrong, 80));
    END IF;
    SELECT item INTO wrong FROM jsonb_array_elements_text(items) AS item
    WHERE length(item) NOT BETWEEN 1 AND longest OR item ~ unwanted LIMIT 1;
    IF FOUND THEN
        RETURN format('%s has %L, which is not 1 to %s printable characters%s', field, left(wrong, 80), longest,
                      CASE item_kind WHEN 'symbol' THEN ' without space' ELSE '' END);
    END IF;
    SELECT item INTO wrong FROM jsonb_array_elements_text(items) AS item GROUP BY item HAVING count(*) > 1 LIMIT 1;
    RETURN CASE WHEN FOUND THEN format('%s names %L twice; each is one item', field, wrong) END;
END
$$;

CREATE OR REPLACE FUNCTION find_request_error(request jsonb) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    field      text;
    moment     timestamptz;
    problem    text;
    parameters jsonb := coalesce(nullif(request -> 'parameters', 'null'), '{}');
    items      jsonb := coalesce(nullif(request -> 'symbols', 'null'), nullif(request -> 'items', 'null'));
    found      job_types;
BEGIN
    IF request - ARRAY['job', 'parameters', 'universe', 'symbols', 'items', 'timeframe', 'timeframes', 'as_of',
                       'max_attempts', 'key', 'user', 'traceparent'] <> '{}' THEN
        SELECT name INTO field FROM jsonb_object_keys(request - ARRAY['job', 'parameters', 'universe', 'symbols', 'items',
            'timeframe', 'timeframes', 'as_of', 'max_attempts', 'key', 'user', 'traceparent']) AS name LIMIT 1;
        RETURN format('field %L is not known; known are job, parameters, universe, symbols, items, timeframe, timeframes,'
                      ' as_of, max_attempts, key, user, traceparent', left(field, 80));
    END IF;
    IF pg_column_size(request) > 4194304 THEN
        RETURN format('the request has %s bytes, more than 4194304', pg_column_size(request));
    END IF;
    IF jsonb_typeof(parameters) <> 'object' THEN
        RETURN format('parameters %s is not an object', left(parameters::text, 80));
    END IF;
    FOR field IN SELECT name FROM unnest(ARRAY['universe', 'timeframe', 'as_of', 'key', 'user', 'traceparent']) AS name
                 WHERE request ? name LOOP
        IF jsonb_typeof(request -> field) NOT IN ('string', 'null') THEN
            RETURN format('%s %s is not a text', field, left((request -> field)::text, 80));
        END IF;
        IF length(request ->> field) NOT BETWEEN 1 AND 200 OR request ->> field ~ '[[:cntrl:]]' THEN
            RETURN format('%s %L is not 1 to 200 printable characters', field, left(request ->> field, 80));
        END IF;
    END LOOP;
    IF num_nonnulls(request ->> 'universe', request ->> 'symbols', request ->> 'items') > 1 THEN
        RETURN 'the request names several of universe, symbols and items; one of them says what the run is about';
    END IF;
    IF request ->> 'timeframes' IS NOT NULL THEN
        IF request ->> 'timeframe' IS NOT NULL THEN
            RETURN 'the request names both timeframe and timeframes';
        END IF;
        problem := find_items_error(request -> 'timeframes', 'timeframes', 'symbol');
        IF problem IS NOT NULL THEN
            RETURN problem;
        END IF;
    END IF;
    IF request ->> 'as_of' IS NOT NULL THEN
        BEGIN
            moment := (request ->> 'as_of')::timestamptz;
        EXCEPTION WHEN data_exception THEN
            moment := NULL;
        END;
        IF moment IS NULL OR NOT isfinite(moment)
           OR request ->> 'as_of' !~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)$' THEN
            RETURN format('as_of %L is not an ISO time with its offset, such as 2026-11-26T21:00:00Z', request ->> 'as_of');
        END IF;
    END IF;
    IF request ->> 'max_attempts' IS NOT NULL AND (request ->> 'max_attempts' !~ '^\d{1,3}$'
       OR (request ->> 'max_attempts')::integer NOT BETWEEN 1 AND 100) THEN
        RETURN format('max_attempts %s is not a number from 1 to 100', left(request ->> 'max_attempts', 80));
    END IF;
    IF request ->> 'traceparent' !~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$' THEN
        RETURN format('traceparent %L is not of the form of W3C Trace Context', request ->> 'traceparent');
    END IF;
    problem := '';
    FOR found IN SELECT * FROM job_types WHERE name = request ->> 'job' ORDER BY seen_at LOOP
        problem := coalesce(
            find_parameter_error(parameters, found.params_schema),
            CASE WHEN items IS NOT NULL
                 THEN find_items_error(items, CASE WHEN request ->> 'symbols' IS NULL THEN 'items' ELSE 'symbols' END,
                                       found.item_kind)
                 WHEN found.item_kind = 'symbol' AND request ->> 'universe' IS NULL
                 THEN 'a run needs a universe, or at least one symbol'
                 WHEN found.item_kind <> 'symbol' AND request ->> 'universe' IS NOT NULL
                 THEN 'the job is not about symbols, so it takes no universe' END);
        IF problem IS NULL THEN
            RETURN NULL;
        END IF;
    END LOOP;
    RETURN problem;
END
$$;

CREATE OR REPLACE FUNCTION require_request(request jsonb, label text) RETURNS void LANGUAGE plpgsql STABLE AS $$
DECLARE
    problem text;
    nearest text;
BEGIN
    IF jsonb_typeof(request) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION '%request % is not an object', label, coalesce(left(request::text, 80), 'null')
            USING ERRCODE = 'SW001';
    END IF;
    IF jsonb_typeof(request -> 'job') IS DISTINCT FROM 'string' OR request ->> 'job' !~ '^[a-z][a-z0-9_]{0,63}$' THEN
        RAISE EXCEPTION '%job % is not a name of 1 to 64 small letters, digits and _', label,
            coalesce(left((request -> 'job')::text, 80), 'null') USING ERRCODE = 'SW001';
    END IF;
    problem := find_request_error(request);
    IF problem = '' THEN
        SELECT name INTO nearest FROM (SELECT DISTINCT name FROM job_types) AS known
        WHERE name_distance(name, request ->> 'job') <= greatest(2, length(name) / 3)
        ORDER BY name_distance(name, request ->> 'job'), name LIMIT 1;
        RAISE EXCEPTION '%no process of the pool has a job named %; %', label, quote_literal(request ->> 'job'), coalesce(
            'did you mean ' || quote_literal(nearest) || '?',
            'known: ' || (SELECT string_agg(name, ', ' ORDER BY name) FROM
                          (SELECT DISTINCT name FROM job_types ORDER BY name LIMIT 20) AS known),
            'no worker or scheduler has run in the last 7 days') USING ERRCODE = 'SW002';
    END IF;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%job %: %', label, quote_literal(request ->> 'job'), problem USING ERRCODE = 'SW001';
    END IF;
END
$$;
