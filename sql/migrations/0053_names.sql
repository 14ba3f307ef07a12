-- Names are the same at every way into the product: the rules of `streamworkers/names.py` and `streamworkers/symbols.py`, in the
-- same words.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

-- A name for a message: escaped, so that it changes neither lines nor their direction, and cut off.
CREATE FUNCTION quote_name(name text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT '''' || coalesce(string_agg(CASE
        WHEN c IN ('''', '\') THEN '\' || c
        WHEN c = E'\n' THEN '\n' WHEN c = E'\r' THEN '\r' WHEN c = E'\t' THEN '\t'
        WHEN ascii(c) BETWEEN 32 AND 126 THEN c
        WHEN ascii(c) < 256 THEN '\x' || lpad(to_hex(ascii(c)), 2, '0')
        WHEN ascii(c) < 65536 THEN '\u' || lpad(to_hex(ascii(c)), 4, '0')
        ELSE '\U' || lpad(to_hex(ascii(c)), 8, '0') END, '' ORDER BY place), '') || ''''
    FROM regexp_split_to_table(CASE WHEN length(name) > 40 THEN left(name, 37) || '…' ELSE name END, '')
        WITH ORDINALITY AS s (c, place)
    WHERE c <> ''
$$;

-- What is wrong with the name of a job, a universe or a user; null if nothing is.
CREATE FUNCTION find_name_error(kind text, name text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN CASE kind
            WHEN 'job' THEN name ~ '^[a-z][a-z0-9_]{0,63}$'
            WHEN 'universe' THEN name ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$'
            ELSE length(name) BETWEEN 1 AND 200 AND name = btrim(name) AND name IS NFKC NORMALIZED
                -- What begins with a dash or with a mark, and what cannot be seen.
                AND name !~ '^[-\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]'
                AND name !~ ('[\u0001-\u001f\u007f-\u009f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u180e'
                             '\u200b-\u200f\u2028-\u202e\u2060-\u206f\ue000-\uf8ff\ufeff\ufff0-\uffff]') END THEN NULL
        ELSE format('%s %s is not a name of %s', kind, quote_name(name), CASE kind
            WHEN 'job' THEN '1 to 64 small letters, digits and _, a letter first'
            WHEN 'universe' THEN '1 to 64 letters, digits and . - _, neither . nor - first'
            ELSE '1 to 200 printable characters in the form NFKC, without spaces around and without - at the beginning' END)
    END
$$;

-- What is wrong with the names in a request; null if nothing is. A user who is there keeps their name, whatever it is.
CREATE FUNCTION find_names_error(request jsonb) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT find_name_error('universe', btrim(part)) FROM regexp_split_to_table(request ->> 'universe', ':')
            WITH ORDINALITY AS parts (part, place)
         WHERE jsonb_typeof(request -> 'universe') = 'string' AND find_name_error('universe', btrim(part)) IS NOT NULL
         ORDER BY place LIMIT 1),
        CASE WHEN jsonb_typeof(request -> 'user') = 'string'
                  AND NOT EXISTS (SELECT FROM users WHERE id = request ->> 'user')
             THEN find_name_error('user', request ->> 'user') END)
$$;

-- What is wrong with the keys of the items in a request; null if nothing is.
CREATE OR REPLACE FUNCTION find_items_error(items jsonb, field text, item_kind text) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    wrong    text;
    wanted   text := CASE item_kind
        WHEN 'symbol' THEN '^[A-Za-z0-9^](?:[A-Za-z0-9:=^+#$&!_-]|[./](?![./])){0,31}$' ELSE '^[^[:cntrl:]]{1,200}$' END;
BEGIN
    IF jsonb_typeof(items) <> 'array' OR jsonb_array_length(items) NOT BETWEEN 1 AND 100000 THEN
        RETURN format('%s is not a list of 1 to 100000 texts', field);
    END IF;
    -- Nearly always nothing is wrong, and one pass shows that.
    PERFORM FROM (SELECT item, item #>> '{}' AS key FROM jsonb_array_elements(items) AS item) AS each
    HAVING bool_and(jsonb_typeof(item) = 'string' AND key ~ wanted)
        AND count(DISTINCT key COLLATE "C") = count(*);
    IF FOUND THEN
        RETURN NULL;
    END IF;
    SELECT item::text INTO wrong FROM jsonb_array_elements(items) AS item WHERE jsonb_typeof(item) <> 'string' LIMIT 1;
    IF FOUND THEN
        RETURN format('%s has %s, which is not a text', field, left(wrong, 80));
    END IF;
    SELECT item INTO wrong FROM jsonb_array_elements_text(items) AS item
    WHERE item !~ wanted LIMIT 1;
    IF FOUND THEN
        RETURN CASE
            WHEN field = 'timeframes' THEN format('timeframes has %s, which is no timeframe', quote_name(wrong))
            WHEN item_kind <> 'symbol' THEN format('%s has %s, which is not 1 to 200 printable characters', field, quote_name(wrong))
            WHEN wrong = '' THEN 'the symbol is empty'
            WHEN length(wrong) > 32 THEN format('the symbol %s has %s characters, more than 32', quote_name(wrong), length(wrong))
            ELSE format('the symbol %s is not letters, digits and . - / : = ^ + # $ & ! _ as in BRK.B, BF/B, X:BTCUSD, ^GSPC',
                        quote_name(wrong)) END;
    END IF;
    SELECT item INTO wrong FROM jsonb_array_elements_text(items) AS item GROUP BY item HAVING count(*) > 1 LIMIT 1;
    RETURN CASE WHEN FOUND THEN format('%s names %L twice; each is one item', field, wrong) END;
END
$$;

-- Raises an error with SQLSTATE SW001 for a request that breaks a rule, and SW002 for a job that nobody has.
CREATE OR REPLACE FUNCTION require_request(request jsonb, label text) RETURNS void LANGUAGE plpgsql STABLE AS $$
DECLARE
    problem text;
    nearest text;
BEGIN
    IF jsonb_typeof(request) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION '%request % is not an object', label, coalesce(left(request::text, 80), 'null')
            USING ERRCODE = 'SW001';
    END IF;
    IF jsonb_typeof(request -> 'job') IS DISTINCT FROM 'string' THEN
        RAISE EXCEPTION '%job % is not a name of 1 to 64 small letters, digits and _', label,
            coalesce(left((request -> 'job')::text, 80), 'null') USING ERRCODE = 'SW001';
    END IF;
    problem := find_name_error('job', request ->> 'job');
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', label || problem USING ERRCODE = 'SW001';
    END IF;
    problem := coalesce(find_names_error(request), find_request_error(request));
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

REVOKE ALL ON FUNCTION quote_name(text), find_name_error(text, text), find_names_error(jsonb) FROM PUBLIC;

-- As before, but for the first character of a user.
CREATE OR REPLACE FUNCTION insert_submitted_runs(requests jsonb) RETURNS TABLE (place integer, id bigint, run_id uuid, is_new boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    login    text := session_user;
    ids      regclass := pg_get_serial_sequence('runs', 'id');
    new_ids  bigint[];
    inserted bigint[];
    clash    record;
BEGIN
    IF jsonb_typeof(requests) IS DISTINCT FROM 'array' OR jsonb_array_length(requests) NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'the requests are not a list of 1 to 10000 objects' USING ERRCODE = 'SW001';
    END IF;
    -- One expression shows of most requests that they are sound; the others are looked at one by one, for the message.
    PERFORM require_request(e.request, CASE WHEN jsonb_array_length(requests) > 1
                                            THEN 'request ' || e.place || ': ' ELSE '' END)
    FROM jsonb_array_elements(requests) WITH ORDINALITY AS e(request, place)
    WHERE jsonb_typeof(e.request) IS DISTINCT FROM 'object' OR NOT coalesce(
        e.request - ARRAY['job', 'parameters', 'symbols', 'items', 'key', 'user'] = '{}'
        AND jsonb_typeof(e.request -> 'job') = 'string'
        AND jsonb_typeof(coalesce(e.request -> 'parameters', '{}')) = 'object'
        AND (NOT e.request ? 'key' OR (jsonb_typeof(e.request -> 'key') = 'string'
             AND length(e.request ->> 'key') <= 200 AND e.request ->> 'key' ~ '^[a-zA-Z0-9:._/-]+$'))
        AND (NOT e.request ? 'user' OR (jsonb_typeof(e.request -> 'user') = 'string'
             AND length(e.request ->> 'user') <= 200 AND e.request ->> 'user' ~ '^[a-zA-Z0-9:._/][a-zA-Z0-9:._/-]*$'))
        AND jsonb_typeof(coalesce(e.request -> 'symbols', e.request -> 'items')) = 'array'
        AND NOT (e.request ? 'symbols' AND e.request ? 'items')
        AND pg_column_size(e.request) < 100000
        AND coalesce(e.request -> 'symbols', e.request -> 'items')::text
            ~ '^\["[A-Za-z0-9^][A-Za-z0-9:=^+#$&!_./-]*"(, "[A-Za-z0-9^][A-Za-z0-9:=^+#$&!_./-]*")*\]$'
        AND coalesce(e.request -> 'symbols', e.request -> 'items')::text !~ '[./]{2}'
        AND (SELECT max(length(item)) <= 32 AND count(*) = count(DISTINCT item COLLATE "C")
             FROM jsonb_array_elements_text(coalesce(e.request -> 'symbols', e.request -> 'items')) AS item)
        AND EXISTS (
            SELECT FROM job_types t
            WHERE t.name = e.request ->> 'job' AND NOT t.params_schema ? 'required'
                AND NOT EXISTS (SELECT FROM jsonb_object_keys(coalesce(e.request -> 'parameters', '{}')) AS name
                                WHERE NOT coalesce(t.params_schema -> 'properties', '{}') ? name)),
        false);
    new_ids := ARRAY(SELECT nextval(ids)
                     FROM generate_series(1, jsonb_array_length(requests)));
    WITH wanted AS (
        SELECT new_ids[e.place] AS new_id, e.request, coalesce(e.request ->> 'user', login) AS requested_by,
               CASE WHEN e.request ->> 'key' IS NOT NULL THEN e.canonical END AS canonical
        FROM canonical_requests(requests) AS e
    ), added AS (
        INSERT INTO runs (id, job, queue, target, as_of, parameters, item_count, max_attempts, created_at, prepared_at,
                          request, submitted_by, requested_by, submit_key, request_digest, canonical_request, traceparent)
        OVERRIDING SYSTEM VALUE
        SELECT new_id, request ->> 'job', '',
               coalesce(request ->> 'universe', (SELECT string_agg(item, ',') FROM jsonb_array_elements_text(
                   coalesce(nullif(request -> 'symbols', 'null'), nullif(request -> 'items', 'null'))) AS item),
                   request ->> 'job'),
               (request ->> 'as_of')::timestamptz, coalesce(nullif(request -> 'parameters', 'null'), '{}'), 0,
               coalesce((request ->> 'max_attempts')::integer, 1), clock_timestamp(), NULL,
               request - ARRAY['job', 'key', 'user', 'traceparent'], login, requested_by, request ->> 'key',
               sha256(convert_to(canonical::text, 'UTF8')), canonical, request ->> 'traceparent'
        FROM wanted ORDER BY new_id
        ON CONFLICT (submitted_by, requested_by, submit_key) WHERE submit_key IS NOT NULL DO NOTHING
        RETURNING id, job, requested_by, submit_key
    ), noted AS (
        INSERT INTO submissions (submitted_by, requested_by, address, run_id, job, submit_key)
        SELECT login, requested_by, inet_client_addr(), id, job, submit_key FROM added RETURNING run_id
    )
    SELECT coalesce(array_agg(run_id), '{}') INTO inserted FROM noted;
    IF cardinality(inserted) > 0 THEN
        PERFORM pg_notify('streamworkers_submitted', '');
    END IF;
    IF cardinality(inserted) = cardinality(new_ids) THEN
        RETURN QUERY SELECT p.place::integer, r.id, r.run_uuid, true
                     FROM unnest(new_ids) WITH ORDINALITY AS p(id, place) JOIN runs r ON r.id = p.id ORDER BY p.place;
        RETURN;
    END IF;
    -- A statement of its own, so that it sees the runs for whose transactions the one above has waited.
    FOR clash IN
        SELECT e.place, e.request, r.id, request_differences(canonical_request(e.request), r.canonical_request) AS names
        FROM jsonb_array_elements(requests) WITH ORDINALITY AS e(request, place)
        JOIN runs r ON r.submitted_by = login AND r.requested_by = coalesce(e.request ->> 'user', login)
            AND r.submit_key = e.request ->> 'key'
        WHERE r.request_digest <> sha256(convert_to(canonical_request(e.request)::text, 'UTF8')) ORDER BY e.place LIMIT 1
    LOOP
        RAISE EXCEPTION 'key % belongs to run %, whose request differs in: %', quote_literal(clash.request ->> 'key'),
            clash.id, clash.names USING ERRCODE = 'SW003';
    END LOOP;
    RETURN QUERY
        SELECT e.place::integer, coalesce(n.id, k.id), coalesce(n.run_uuid, k.run_uuid), n.id IS NOT NULL
        FROM jsonb_array_elements(requests) WITH ORDINALITY AS e(request, place)
        LEFT JOIN runs n ON n.id = new_ids[e.place]
        LEFT JOIN runs k ON k.submitted_by = login AND k.requested_by = coalesce(e.request ->> 'user', login)
            AND k.submit_key = e.request ->> 'key'
        ORDER BY e.place;
END
$$;
