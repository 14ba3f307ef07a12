-- Runs that wait: for a moment (`start_at`), for the end of other runs (`after`), or both. Such a run is one row without items. A
-- preparer looks at it when its time has come and when a run that it waits for ends, and then it is prepared as any other.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

-- A run that waits has -1 attempts: a preparer of the release before claims those with 0, or with more whose claim has ended.
ALTER TABLE runs
    ADD COLUMN start_at   timestamptz,                      -- not before; null: at once
    ADD COLUMN is_waiting boolean NOT NULL DEFAULT false,
    ADD COLUMN ready_at   timestamptz,                      -- since when it does not wait any more; null: it never did
    ADD CONSTRAINT runs_start_at_shape CHECK (start_at BETWEEN '0001-01-03' AND '9999-12-28'),
    ADD CONSTRAINT runs_ready_at_shape CHECK (ready_at BETWEEN '0001-01-03' AND '9999-12-28'),
    ADD CONSTRAINT runs_waiting_check CHECK (NOT is_waiting OR prepared_at IS NULL AND prepare_attempts = -1);
-- However many runs wait, a claim does not read them.
DROP INDEX runs_unprepared;
CREATE INDEX runs_unprepared ON runs (id) WHERE prepared_at IS NULL AND status = 'PENDING' AND NOT is_waiting;

-- The runs that a run waits for, and the state that they must end in: `completed` or any (`ended`).
CREATE TABLE run_dependencies (
    run_id     bigint NOT NULL REFERENCES runs ON DELETE CASCADE,
    awaited_id bigint NOT NULL,                             -- no reference: it may be removed when it is old
    needs      text   NOT NULL CHECK (needs IN ('completed', 'ended')),
    met_at     timestamptz,                                 -- when it was seen to have ended so; null again if it is reopened
    PRIMARY KEY (run_id, awaited_id),
    CONSTRAINT run_dependencies_order CHECK (awaited_id < run_id),
    CONSTRAINT run_dependencies_moments CHECK (met_at BETWEEN '0001-01-03' AND '9999-12-28')
);
CREATE INDEX run_dependencies_awaited ON run_dependencies (awaited_id);

-- When to look at a run that waits. Rows are only added and removed, so that the end of a run never waits for another run.
CREATE TABLE run_checks (
    run_id bigint      NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT run_checks_moments CHECK (at BETWEEN '0001-01-03' AND '9999-12-28')
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX run_checks_at ON run_checks (at);

-- In the transaction that ends a run, whatever ends it.
CREATE FUNCTION check_dependent_runs() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO run_checks (run_id) SELECT run_id FROM run_dependencies WHERE awaited_id = NEW.id;
    IF FOUND THEN
        PERFORM pg_notify('streamworkers_submitted', '');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER runs_check_dependent AFTER UPDATE OF status ON runs FOR EACH ROW
    WHEN (NEW.status NOT IN ('PENDING', 'RUNNING') AND OLD.status IN ('PENDING', 'RUNNING'))
    EXECUTE FUNCTION check_dependent_runs();

-- As before; but a run without items, which may wait for long, is no reason to keep the items of the day it was submitted on.
CREATE OR REPLACE FUNCTION drop_run_items_partition(day date) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM runs WHERE run_day = day AND status IN ('PENDING', 'RUNNING') AND NOT is_waiting) THEN
        RAISE EXCEPTION 'a run of % is open', day USING ERRCODE = 'object_in_use';
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS %I', 'run_items_' || to_char(day, 'YYYYMMDD'));
END
$$;

-- The runs after which a request is to start, as a list; null if it names none.
CREATE FUNCTION list_awaited(request jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE jsonb_typeof(request -> 'after')
        WHEN 'array' THEN request -> 'after'
        WHEN 'null' THEN NULL
        ELSE jsonb_build_array(request -> 'after') END
    WHERE request ? 'after'
$$;

-- What is wrong with when a request is to start; null if nothing is. A login that may not read runs waits for its own and for those
-- that no client submitted.
CREATE FUNCTION find_start_error(request jsonb) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    moment  timestamptz;
    awaited jsonb := list_awaited(request);
    wrong   text;
    reads_all boolean := has_table_privilege(session_user, 'runs', 'SELECT');
BEGIN
    IF request ->> 'start_at' IS NOT NULL THEN
        BEGIN
            moment := (request ->> 'start_at')::timestamptz;
        EXCEPTION WHEN data_exception THEN
            moment := NULL;
        END;
        IF jsonb_typeof(request -> 'start_at') <> 'string' OR moment IS NULL OR NOT isfinite(moment)
           OR request ->> 'start_at' !~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)$' THEN
            RETURN format('start_at %s is not an ISO time with its offset, such as 2026-11-27T18:30:00-05:00',
                          quote_name(request ->> 'start_at'));
        END IF;
        IF moment > clock_timestamp() + interval '366 days' THEN
            RETURN format('start_at %s is more than 366 days ahead', quote_name(request ->> 'start_at'));
        END IF;
    END IF;
    IF request ->> 'after_when' IS NOT NULL THEN
        IF request -> 'after_when' NOT IN ('"completed"', '"ended"') THEN
            RETURN format('after_when %s is not completed or ended', left((request -> 'after_when')::text, 80));
        END IF;
        IF awaited IS NULL THEN
            RETURN 'the request names after_when, but no run to come after: name after';
        END IF;
    END IF;
    IF awaited IS NULL THEN
        RETURN NULL;
    END IF;
    IF jsonb_array_length(awaited) NOT BETWEEN 1 AND 100 THEN
        RETURN format('after names %s runs; name 1 to 100', jsonb_array_length(awaited));
    END IF;
    SELECT left(id::text, 80) INTO wrong FROM jsonb_array_elements(awaited) AS id
    WHERE jsonb_typeof(id) <> 'number' OR id::text !~ '^[1-9]\d{0,17}$' LIMIT 1;
    IF FOUND THEN
        RETURN format('after has %s, which is not the number of a run', wrong);
    END IF;
    SELECT id INTO wrong FROM jsonb_array_elements_text(awaited) AS id GROUP BY id HAVING count(*) > 1 LIMIT 1;
    IF FOUND THEN
        RETURN format('after names run %s twice', wrong);
    END IF;
    -- One probe of the index for each; a join could read all runs.
    SELECT id INTO wrong FROM jsonb_array_elements_text(awaited) AS id
    WHERE coalesce((SELECT r.submitted_by IS NULL OR r.submitted_by = session_user::text OR reads_all
                    FROM runs r WHERE r.id = id.value::bigint), false) IS FALSE
    ORDER BY id::bigint LIMIT 1;
    RETURN CASE WHEN FOUND THEN format('there is no run %s to come after', wrong) END;
END
$$;
REVOKE ALL ON FUNCTION list_awaited(jsonb), find_start_error(jsonb) FROM PUBLIC;

-- What a request with a key has to have in common beside what it always had; of one that starts at once, nothing.
CREATE FUNCTION canonical_start(request jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN request ?| ARRAY['start_at', 'after', 'after_when'] THEN jsonb_strip_nulls(jsonb_build_object(
        'start_at', (request ->> 'start_at')::timestamptz,
        'after', (SELECT jsonb_agg(id ORDER BY id::numeric) FROM jsonb_array_elements(list_awaited(request)) AS id),
        'after_when', CASE WHEN list_awaited(request) IS NOT NULL THEN coalesce(request ->> 'after_when', 'completed') END))
        ELSE '{}' END
$$;

-- As before, and when it starts.
CREATE OR REPLACE FUNCTION canonical_requests(requests jsonb) RETURNS TABLE (place bigint, request jsonb, canonical jsonb)
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
        'as_of', to_jsonb((e.request ->> 'as_of')::timestamptz)) || canonical_start(e.request)
    FROM jsonb_array_elements(requests) WITH ORDINALITY AS e(request, place)
$$;
REVOKE ALL ON FUNCTION canonical_start(jsonb) FROM PUBLIC;

-- As before; a field may be in one of them alone.
CREATE OR REPLACE FUNCTION request_differences(one jsonb, other jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(CASE name WHEN 'items' THEN 'symbols or items' ELSE name END, ', ' ORDER BY name)
    FROM jsonb_object_keys(one || other) AS name WHERE one -> name IS DISTINCT FROM other -> name
$$;

-- As before, and it knows the fields that say when.
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
                       'max_attempts', 'key', 'user', 'traceparent', 'start_at', 'after', 'after_when'] <> '{}' THEN
        SELECT name INTO field FROM jsonb_object_keys(request - ARRAY['job', 'parameters', 'universe', 'symbols', 'items',
            'timeframe', 'timeframes', 'as_of', 'max_attempts', 'key', 'user', 'traceparent', 'start_at', 'after',
            'after_when']) AS name LIMIT 1;
        RETURN format('field %L is not known; known are job, parameters, universe, symbols, items, timeframe, timeframes,'
                      ' as_of, max_attempts, key, user, traceparent, start_at, after, after_when', left(field, 80));
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

-- As before, with the check of when it starts.
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
    problem := coalesce(find_names_error(request), find_start_error(request), find_request_error(request));
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

-- As before. A run that is to start later waits; if it comes after others, a preparer looks at these at once.
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
               CASE WHEN e.request ->> 'key' IS NOT NULL THEN e.canonical END AS canonical,
               CASE WHEN e.request ->> 'start_at' IS NOT NULL
                    THEN greatest((e.request ->> 'start_at')::timestamptz, '0001-01-03') END AS start_at, list_awaited(e.request) AS awaited
        FROM canonical_requests(requests) AS e
    ), added AS (
        INSERT INTO runs (id, job, queue, target, as_of, parameters, item_count, max_attempts, created_at, prepared_at,
                          request, submitted_by, requested_by, submit_key, request_digest, canonical_request, traceparent,
                          start_at, is_waiting, prepare_attempts)
        OVERRIDING SYSTEM VALUE
        SELECT new_id, request ->> 'job', '',
               coalesce(request ->> 'universe', (SELECT string_agg(item, ',') FROM jsonb_array_elements_text(
                   coalesce(nullif(request -> 'symbols', 'null'), nullif(request -> 'items', 'null'))) AS item),
                   request ->> 'job'),
               (request ->> 'as_of')::timestamptz, coalesce(nullif(request -> 'parameters', 'null'), '{}'), 0,
               coalesce((request ->> 'max_attempts')::integer, 1), clock_timestamp(), NULL,
               request - ARRAY['job', 'key', 'user', 'traceparent', 'start_at'], login, requested_by, request ->> 'key',
               sha256(convert_to(canonical::text, 'UTF8')), canonical, request ->> 'traceparent', start_at,
               waits, CASE WHEN waits THEN -1 ELSE 0 END
        FROM (SELECT *, awaited IS NOT NULL OR coalesce(start_at > clock_timestamp(), false) AS waits FROM wanted) AS wanted ORDER BY new_id
        ON CONFLICT (submitted_by, requested_by, submit_key) WHERE submit_key IS NOT NULL DO NOTHING
        RETURNING id, job, requested_by, submit_key, is_waiting, start_at, request
    ), depending AS (
        INSERT INTO run_dependencies (run_id, awaited_id, needs)
        SELECT a.id, d.awaited::bigint, coalesce(a.request ->> 'after_when', 'completed')
        FROM added a CROSS JOIN LATERAL jsonb_array_elements_text(list_awaited(a.request)) AS d(awaited)
        WHERE a.is_waiting
    ), checked AS (
        INSERT INTO run_checks (run_id, at)
        SELECT id, CASE WHEN list_awaited(request) IS NULL THEN start_at ELSE clock_timestamp() END
        FROM added WHERE is_waiting
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

-- As before, and what a run waits for.
CREATE OR REPLACE VIEW client_runs WITH (security_barrier) AS
SELECT id, run_uuid AS run_id, job, status, item_count, completed_count, failed_count, cancelled_count,
       submit_key AS key, requested_by AS "user", created_at, prepared_at, started_at, completed_at, reason,
       target, timeframe, as_of, parameters, last_event,
       start_at, is_waiting AND status = 'PENDING' AS is_waiting,
       ARRAY(SELECT awaited_id FROM run_dependencies WHERE run_id = runs.id ORDER BY awaited_id) AS after,
       (SELECT min(needs) FROM run_dependencies WHERE run_id = runs.id) AS after_when
FROM runs WHERE submitted_by = session_user::text;
