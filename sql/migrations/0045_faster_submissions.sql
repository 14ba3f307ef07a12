-- `submit_runs` as before, with a cheaper canonical form. Settings of a function are set and reset at each call,
-- which was a fifth of the time of the whole statement; one without them that returns rows becomes part of the statement.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

-- The canonical form of each request of a list. It has no settings of its own: callers set `search_path` and `timezone`.
CREATE FUNCTION canonical_requests(requests jsonb) RETURNS TABLE (place bigint, request jsonb, canonical jsonb)
LANGUAGE sql STABLE AS $$
    SELECT e.place, e.request, jsonb_build_object(
        'job', e.request ->> 'job',
        'parameters', canonical_json(coalesce(nullif(e.request -> 'parameters', 'null'), '{}')),
        'universe', e.request ->> 'universe',
        'items', (SELECT encode(sha256(convert_to(string_agg(to_jsonb(item)::text, ',' ORDER BY item COLLATE "C"), 'UTF8')),
                                'hex')
                  FROM jsonb_array_elements_text(coalesce(nullif(e.request -> 'symbols', 'null'),
                                                          nullif(e.request -> 'items', 'null'), '[]')) AS item),
        'timeframes', CASE WHEN e.request ?| ARRAY['timeframe', 'timeframes'] THEN (
            SELECT coalesce(jsonb_agg(frame ORDER BY frame COLLATE "C"), '[]')
            FROM jsonb_array_elements_text(coalesce(nullif(e.request -> 'timeframes', 'null'),
                 CASE WHEN e.request ->> 'timeframe' IS NOT NULL
                      THEN jsonb_build_array(e.request -> 'timeframe') END, '[]')) AS frame) ELSE '[]' END,
        'as_of', to_jsonb((e.request ->> 'as_of')::timestamptz))
    FROM jsonb_array_elements(requests) WITH ORDINALITY AS e(request, place)
$$;
REVOKE ALL ON FUNCTION canonical_requests(jsonb) FROM PUBLIC;

-- What two requests with one key must have in common. Lists are sets here; of a long one, the digest is enough.
CREATE OR REPLACE FUNCTION canonical_request(request jsonb) RETURNS jsonb LANGUAGE sql STABLE STRICT
SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
    SELECT canonical FROM canonical_requests(jsonb_build_array(request))
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
