-- A symbol is the same at every way into the product: the rule of `streamworkers/symbols.py`.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

-- What is wrong with the keys of the items in a request; null if nothing is.
CREATE OR REPLACE FUNCTION find_items_error(items jsonb, field text, item_kind text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
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
        RETURN format('%s has %L, which is not %s', field, left(wrong, 80), CASE item_kind
            WHEN 'symbol' THEN 'a symbol of 1 to 32 letters, digits and . - / : = ^ + # $ & ! _'
            ELSE '1 to 200 printable characters' END);
    END IF;
    SELECT item INTO wrong FROM jsonb_array_elements_text(items) AS item GROUP BY item HAVING count(*) > 1 LIMIT 1;
    RETURN CASE WHEN FOUND THEN format('%s names %L twice; each is one item', field, wrong) END;
END
$$;

-- Submits runs in the caller's transaction, all or none. Of a request whose key is taken, returns the run that has it.
CREATE OR REPLACE FUNCTION submit_runs(requests jsonb) RETURNS TABLE (place integer, id bigint, run_id uuid, is_new boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
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
             AND length(e.request ->> 'user') <= 200 AND e.request ->> 'user' ~ '^[a-zA-Z0-9:._/-]+$'))
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
               CASE WHEN e.request ->> 'key' IS NOT NULL THEN canonical_request(e.request) END AS canonical
        FROM jsonb_array_elements(requests) WITH ORDINALITY AS e(request, place)
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
