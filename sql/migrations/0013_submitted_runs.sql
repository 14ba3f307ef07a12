-- Runs that are submitted without their job's code: one row, which a preparer gives its items later.
-- A process of the release before inserts runs with all their items, so the default says that those are prepared. It does
-- not see a submitted run: until it is prepared its queue is '', and the check keeps it from being completed.

ALTER TABLE runs
    ADD COLUMN prepared_at       timestamptz DEFAULT now(),   -- has its items; null: submitted, and not prepared yet
    ADD COLUMN request           jsonb,                       -- what was submitted, until the run is prepared
    ADD COLUMN submitted_by      text,                        -- the login that submitted it
    ADD COLUMN submit_key        text,                        -- the idempotency key of a submitted run
    ADD COLUMN request_digest    bytea,                       -- of a run with a key: SHA-256 of its canonical request
    ADD COLUMN canonical_request jsonb,
    ADD COLUMN reason            text,                        -- why it ended without items: rejected, or nothing to do
    ADD COLUMN traceparent       text,
    ADD COLUMN prepare_attempts  smallint NOT NULL DEFAULT 0,
    ADD COLUMN prepare_after     timestamptz,                 -- a preparer has claimed it until then
    ADD CONSTRAINT runs_prepared_check CHECK (prepared_at IS NOT NULL OR status IN ('PENDING', 'FAILED', 'CANCELLED')),
    SET (fillfactor = 50);   -- a submitted run is updated three times before a worker sees it
CREATE INDEX runs_unprepared ON runs (id) WHERE prepared_at IS NULL AND status = 'PENDING';
CREATE UNIQUE INDEX runs_submit_key ON runs (submitted_by, requested_by, submit_key) WHERE submit_key IS NOT NULL;

-- Who submitted what, and when. Rows are only added, and removed when they are old.
CREATE TABLE submissions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    submitted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    submitted_by text        NOT NULL,
    requested_by text        NOT NULL,
    address      inet,
    run_id       bigint      NOT NULL,
    job          text        NOT NULL,
    submit_key   text
);
CREATE INDEX submissions_age ON submissions USING brin (submitted_at);

-- The jobs that processes of the pool have installed. Two releases side by side may have two rows of a job.
CREATE TABLE job_types (
    name          text        NOT NULL,
    schema_hash   text        NOT NULL,
    release       text        NOT NULL,
    queue         text        NOT NULL,
    max_attempts  integer     NOT NULL,
    params_schema jsonb       NOT NULL,
    item_kind     text        NOT NULL CHECK (item_kind IN ('symbol', 'part', 'id')),
    seen_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, schema_hash)
);

SELECT set_config('search_path', current_schema() || ', pg_temp', true);

-- A value with every number in its shortest form: 1.50 and 1.5 are the same number.
CREATE FUNCTION canonical_json(value jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF value::text !~ '\.[0-9]*0($|[^0-9])' THEN
        RETURN value;
    END IF;
    CASE jsonb_typeof(value)
        WHEN 'number' THEN
            RETURN to_jsonb(trim_scale(value::numeric));
        WHEN 'array' THEN
            RETURN (SELECT jsonb_agg(canonical_json(element) ORDER BY place)
                    FROM jsonb_array_elements(value) WITH ORDINALITY AS e(element, place));
        WHEN 'object' THEN
            RETURN (SELECT jsonb_object_agg(name, canonical_json(element)) FROM jsonb_each(value) AS e(name, element));
        ELSE
            RETURN value;
    END CASE;
END
$$;

-- What two requests with one key must have in common. Lists are sets here; of a long one, the digest is enough.
CREATE FUNCTION canonical_request(request jsonb) RETURNS jsonb LANGUAGE sql STABLE STRICT SET search_path FROM CURRENT
SET timezone = 'UTC' AS $$
    SELECT jsonb_build_object(
        'job', request ->> 'job',
        'parameters', canonical_json(coalesce(nullif(request -> 'parameters', 'null'), '{}')),
        'universe', request ->> 'universe',
        'items', (SELECT encode(sha256(convert_to(string_agg(to_jsonb(item)::text, ',' ORDER BY item COLLATE "C"), 'UTF8')),
                                'hex')
                  FROM jsonb_array_elements_text(coalesce(nullif(request -> 'symbols', 'null'),
                                                          nullif(request -> 'items', 'null'), '[]')) AS item),
        'timeframes', (SELECT coalesce(jsonb_agg(frame ORDER BY frame COLLATE "C"), '[]')
                       FROM jsonb_array_elements_text(coalesce(nullif(request -> 'timeframes', 'null'),
                            CASE WHEN request ->> 'timeframe' IS NOT NULL
                                 THEN jsonb_build_array(request -> 'timeframe') END, '[]')) AS frame),
        'as_of', to_jsonb((request ->> 'as_of')::timestamptz))
$$;

-- The names of the fields in which two canonical requests differ.
CREATE FUNCTION request_differences(one jsonb, other jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(CASE name WHEN 'items' THEN 'symbols or items' ELSE name END, ', ' ORDER BY name)
    FROM jsonb_object_keys(one) AS name WHERE one -> name IS DISTINCT FROM other -> name
$$;

-- The number of characters to insert, delete or replace between two names.
CREATE FUNCTION name_distance(one text, other text) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    previous integer[] := ARRAY(SELECT generate_series(0, length(other)));
    here     integer[];
BEGIN
    FOR i IN 1..length(one) LOOP
        here := ARRAY[i];
        FOR j IN 1..length(other) LOOP
            here[j + 1] := least(previous[j + 1] + 1, here[j] + 1,
                                 previous[j] + (substr(one, i, 1) <> substr(other, j, 1))::integer);
        END LOOP;
        previous := here;
    END LOOP;
    RETURN previous[length(other) + 1];
END
$$;

-- What of some parameters breaks a JSON Schema, as far as names go: unknown and missing ones. Null if nothing does.
-- The first check of several; the job's own model and its `prepare` are the last.
CREATE FUNCTION find_parameter_error(parameters jsonb, schema jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(
        (SELECT format('parameter %L is not one of the job''s: %s', name,
                       (SELECT coalesce(string_agg(known, ', ' ORDER BY known), 'it has none')
                        FROM jsonb_object_keys(coalesce(schema -> 'properties', '{}')) AS known))
         FROM jsonb_object_keys(parameters) AS name
         WHERE schema -> 'additionalProperties' = 'false' AND NOT coalesce(schema -> 'properties', '{}') ? name
         ORDER BY name LIMIT 1),
        (SELECT format('parameter %L is required', name)
         FROM jsonb_array_elements_text(coalesce(schema -> 'required', '[]')) AS name
         WHERE NOT parameters ? name ORDER BY name LIMIT 1))
$$;

-- What is wrong with the keys of the items in a request; null if nothing is.
CREATE FUNCTION find_items_error(items jsonb, field text, item_kind text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
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

-- What is wrong with a request: null if nothing is, '' if no process has its job. It is sound if it fits one row of its job.
CREATE FUNCTION find_request_error(request jsonb) RETURNS text LANGUAGE plpgsql STABLE AS $$
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

-- Raises an error with SQLSTATE SW001 for a request that breaks a rule, and SW002 for a job that nobody has.
CREATE FUNCTION require_request(request jsonb, label text) RETURNS void LANGUAGE plpgsql STABLE AS $$
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

-- Submits runs in the caller's transaction, all or none. Of a request whose key is taken, returns the run that has it.
CREATE FUNCTION submit_runs(requests jsonb) RETURNS TABLE (place integer, id bigint, run_id uuid, is_new boolean)
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
        AND jsonb_typeof(coalesce(e.request -> 'key', '"-"')) = 'string'
        AND coalesce(e.request ->> 'key', '-') ~ '^[a-zA-Z0-9:._/-]{1,200}$'
        AND jsonb_typeof(coalesce(e.request -> 'user', '"-"')) = 'string'
        AND coalesce(e.request ->> 'user', '-') ~ '^[a-zA-Z0-9:._/-]{1,200}$'
        AND jsonb_typeof(coalesce(e.request -> 'symbols', e.request -> 'items')) = 'array'
        AND NOT (e.request ? 'symbols' AND e.request ? 'items')
        AND pg_column_size(e.request) < 100000
        AND (SELECT bool_and(jsonb_typeof(item) = 'string' AND item #>> '{}' ~ '^[!-~]{1,64}$')
                    AND count(*) = count(DISTINCT item #>> '{}')
             FROM jsonb_array_elements(coalesce(e.request -> 'symbols', e.request -> 'items')) AS item)
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

CREATE FUNCTION submit_run(request jsonb) RETURNS TABLE (id bigint, run_id uuid, is_new boolean)
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT id, run_id, is_new FROM submit_runs(jsonb_build_array(request))
$$;

REVOKE EXECUTE ON FUNCTION canonical_json(jsonb), canonical_request(jsonb), request_differences(jsonb, jsonb),
    name_distance(text, text), find_parameter_error(jsonb, jsonb), find_items_error(jsonb, text, text),
    find_request_error(jsonb), require_request(jsonb, text), submit_runs(jsonb), submit_run(jsonb) FROM PUBLIC;

-- The runs that a login has submitted, for the login itself.
CREATE VIEW client_runs WITH (security_barrier) AS
SELECT id, run_uuid AS run_id, job, status, item_count, completed_count, failed_count, cancelled_count,
       submit_key AS key, requested_by AS "user", created_at, prepared_at, started_at, completed_at, reason
FROM runs WHERE submitted_by = session_user::text;

CREATE OR REPLACE VIEW job_executions AS
SELECT job AS job_name,
       started_at,
       completed_at,
       extract(epoch FROM completed_at - started_at)::double precision AS duration_seconds,
       status = 'COMPLETED' AS success,
       jsonb_build_object('run_id', id, 'status', status, 'items', item_count, 'completed', completed_count,
                          'failed', failed_count, 'cancelled', cancelled_count, 'schedule', schedule,
                          'scheduled_for', scheduled_for, 'trigger', trigger) AS result,
       CASE WHEN status IN ('FAILED', 'COMPLETED_WITH_ERRORS')
            THEN coalesce(reason, failed_count || ' of ' || item_count || ' items failed') END AS error
FROM runs
WHERE completed_at IS NOT NULL;

CREATE OR REPLACE VIEW job_schedule_runs AS
SELECT r.run_uuid AS run_id,
       r.job AS job_type,
       r.schedule_id AS job_id,
       r.requested_by AS user_id,
       r.status,
       r.scheduled_for,
       r.enqueued_at,
       r.started_at,
       r.completed_at AS finished_at,
       jsonb_build_object('run', r.id, 'job_type', r.job, 'queue', r.queue, 'target', r.target, 'timeframe', r.timeframe,
                          'as_of', r.as_of, 'task_params', r.parameters, 'max_attempts', r.max_attempts,
                          'schedule', r.schedule, 'trigger', r.trigger, 'external_id', r.external_id) AS job_snapshot,
       CASE WHEN r.completed_at IS NOT NULL
            THEN jsonb_build_object('items', r.item_count, 'completed', r.completed_count, 'failed', r.failed_count,
                                    'cancelled', r.cancelled_count) END AS result,
       CASE WHEN r.status IN ('FAILED', 'COMPLETED_WITH_ERRORS')
            THEN coalesce(r.reason, r.failed_count || ' of ' || r.item_count || ' items failed') END AS error,
       CASE WHEN r.started_at IS NOT NULL
            THEN (SELECT i.worker FROM run_items i
                  WHERE i.run_day = r.run_day AND i.run_id = r.id AND i.worker IS NOT NULL
                  ORDER BY i.seq LIMIT 1) END AS worker_id
FROM runs r;

-- As before, and: `streamworkers_client` submits runs and sees its own, and nothing else.
CREATE OR REPLACE FUNCTION grant_streamworkers_roles() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    here text := current_schema();
BEGIN
    IF NOT pg_has_role((SELECT relowner FROM pg_class WHERE oid = 'runs'::regclass), 'USAGE') THEN
        RAISE EXCEPTION 'role % does not own the tables', current_user USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_app') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO streamworkers_app', here);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO streamworkers_app', here);
        EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %I TO streamworkers_app', here);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I'
                       ' GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO streamworkers_app', here);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT USAGE ON SEQUENCES TO streamworkers_app', here);
        GRANT EXECUTE ON FUNCTION ensure_run_items_partition(date), ensure_ohlcv_1min_partition(timestamptz),
            drop_run_items_partition(date), canonical_json(jsonb), canonical_request(jsonb),
            request_differences(jsonb, jsonb), submit_runs(jsonb), submit_run(jsonb) TO streamworkers_app;
        REVOKE INSERT, UPDATE, DELETE ON schema_migrations FROM streamworkers_app;
        REVOKE UPDATE ON submissions FROM streamworkers_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_readonly') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO streamworkers_readonly', here);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO streamworkers_readonly', here);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO streamworkers_readonly', here);
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamworkers_client') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO streamworkers_client', here);
        GRANT SELECT ON client_runs TO streamworkers_client;
        GRANT EXECUTE ON FUNCTION submit_runs(jsonb), submit_run(jsonb) TO streamworkers_client;
    END IF;
END
$$;
