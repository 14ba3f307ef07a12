-- A run may name a webhook, which is called once it has ended. The call is a row of `deliveries`, written in the transaction that ends
-- the run, whatever ends it; from there it goes the way of all messages.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

ALTER TABLE runs
    ADD COLUMN webhook jsonb,                               -- {"url": a URL or env:NAME, "secrets": [env:NAME, …]}
    ADD CONSTRAINT runs_webhook_shape CHECK (jsonb_typeof(webhook) = 'object');
ALTER TABLE deliveries ADD COLUMN ended_run_id bigint;      -- the run whose end it reports
CREATE INDEX deliveries_ended_run ON deliveries (ended_run_id) WHERE ended_run_id IS NOT NULL;

-- Whose endpoints the webhooks of runs are. It is no name that a person can have, so nobody's notifications go there.
INSERT INTO users (id) VALUES ('-run-webhooks') ON CONFLICT DO NOTHING;

-- What stands in `endpoints` for a webhook: the URL, with a fragment, which is not sent and keeps two secrets of one URL apart.
CREATE FUNCTION webhook_address(webhook jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN webhook ->> 'url' LIKE 'env:%' THEN webhook ->> 'url'
           ELSE (webhook ->> 'url') || '#' || (SELECT string_agg(each, ',') FROM jsonb_array_elements_text(webhook -> 'secrets') AS each) END
$$;

-- What is wrong with the webhook of a request; null if nothing is. It shows no URL: that may hold a secret.
CREATE FUNCTION find_webhook_error(webhook jsonb) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    secrets jsonb := webhook -> 'secrets';
BEGIN
    IF webhook IS NULL OR webhook = 'null' THEN
        RETURN NULL;
    END IF;
    IF jsonb_typeof(webhook) <> 'object' OR webhook - ARRAY['url', 'secrets'] <> '{}' THEN
        RETURN 'webhook is not an object with the fields url and secrets alone';
    END IF;
    IF jsonb_typeof(webhook -> 'url') IS DISTINCT FROM 'string' OR length(webhook ->> 'url') > 1000
       OR webhook ->> 'url' !~ '^(https?://[A-Za-z0-9.:\[\]-]+([/?][!-~]*)?|env:[A-Z][A-Z0-9_]{0,127})$' OR webhook ->> 'url' ~ '#' THEN
        RETURN 'the url of the webhook is not a URL as https://example.com/hooks without user, password and fragment, of at most'
            ' 1000 characters, or env:NAME';
    END IF;
    IF jsonb_typeof(secrets) IS DISTINCT FROM 'array' OR jsonb_array_length(secrets) NOT BETWEEN 1 AND 5 THEN
        RETURN 'the secrets of the webhook are not a list of 1 to 5 references as env:MY_SECRET';
    END IF;
    IF EXISTS (SELECT FROM jsonb_array_elements(secrets) AS each
               WHERE jsonb_typeof(each) <> 'string' OR each #>> '{}' !~ '^env:[A-Z][A-Z0-9_]{0,127}$') THEN
        RETURN 'a secret of the webhook is not named: name the variable that holds it, as env:MY_SECRET';
    END IF;
    IF EXISTS (SELECT FROM endpoints WHERE user_id = '-run-webhooks' AND channel = 'webhook'
               AND address = webhook_address(webhook) AND settings <> jsonb_build_object('secret', secrets)) THEN
        RETURN format('the webhook %s is signed with other secrets already', webhook ->> 'url');
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION webhook_address(jsonb), find_webhook_error(jsonb) FROM PUBLIC;

-- The call is made up here, so that it says what was there at the end, and is the same each time it is sent.
CREATE FUNCTION call_webhook() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
BEGIN
    INSERT INTO deliveries (user_id, endpoint_id, channel, type, priority, ended_run_id, content, parts)
    SELECT '-run-webhooks', (SELECT id FROM endpoints WHERE user_id = '-run-webhooks' AND channel = 'webhook'
                             AND address = webhook_address(NEW.webhook)),
           'webhook', 'run_ended', 'normal', NEW.id, '{}',
           jsonb_build_array(jsonb_build_object('body', jsonb_build_object(
               'type', 'run.ended', 'timestamp', to_jsonb(clock_timestamp()), 'data', jsonb_build_object(
                   'id', NEW.id, 'run_id', NEW.run_uuid, 'job', NEW.job, 'status', NEW.status, 'reason', NEW.reason,
                   'target', left(NEW.target, 1000), 'key', coalesce(NEW.submit_key, NEW.idempotency_key), 'user', NEW.requested_by,
                   'traceparent', NEW.traceparent, 'items', NEW.item_count, 'completed', NEW.completed_count,
                   'failed', NEW.failed_count, 'cancelled', NEW.cancelled_count, 'created_at', NEW.created_at,
                   'started_at', NEW.started_at, 'completed_at', NEW.completed_at, 'last_event', NEW.last_event))::text));
    RETURN NULL;
END
$$;
CREATE TRIGGER runs_call_webhook AFTER UPDATE OF status ON runs FOR EACH ROW
    WHEN (NEW.webhook IS NOT NULL AND NEW.status NOT IN ('PENDING', 'RUNNING') AND OLD.status IN ('PENDING', 'RUNNING'))
    EXECUTE FUNCTION call_webhook();

-- As before, and the webhook.
CREATE OR REPLACE FUNCTION canonical_start(request jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN request ?| ARRAY['start_at', 'after', 'after_when', 'webhook'] THEN jsonb_strip_nulls(jsonb_build_object(
        'start_at', (request ->> 'start_at')::timestamptz,
        'after', (SELECT jsonb_agg(id ORDER BY id::numeric) FROM jsonb_array_elements(list_awaited(request)) AS id),
        'after_when', CASE WHEN list_awaited(request) IS NOT NULL THEN coalesce(request ->> 'after_when', 'completed') END,
        'webhook', nullif(request -> 'webhook', 'null')))
        ELSE '{}' END
$$;

-- As before, and it knows the webhook.
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
                       'max_attempts', 'priority', 'key', 'user', 'traceparent', 'start_at', 'after', 'after_when', 'webhook'] <> '{}' THEN
        SELECT name INTO field FROM jsonb_object_keys(request - ARRAY['job', 'parameters', 'universe', 'symbols', 'items',
            'timeframe', 'timeframes', 'as_of', 'max_attempts', 'priority', 'key', 'user', 'traceparent', 'start_at',
            'after', 'after_when', 'webhook']) AS name LIMIT 1;
        RETURN format('field %L is not known; known are job, parameters, universe, symbols, items, timeframe, timeframes,'
                      ' as_of, max_attempts, priority, key, user, traceparent, start_at, after, after_when, webhook', left(field, 80));
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
    IF jsonb_typeof(request -> 'priority') <> 'null'
       AND request -> 'priority' NOT IN ('"high"', '"normal"', '"low"') THEN
        RETURN format('priority %s is not one of high, normal, low',
                      CASE jsonb_typeof(request -> 'priority') WHEN 'string' THEN quote_literal(left(request ->> 'priority', 80))
                           ELSE left((request -> 'priority')::text, 80) END);
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

-- As before, with the check of the webhook.
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
    problem := coalesce(find_names_error(request), find_start_error(request), find_request_error(request),
                        find_webhook_error(request -> 'webhook'));
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

-- As before. The endpoint of a webhook is there from then on.
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
    IF requests @? '$[*].webhook.url' THEN
        INSERT INTO endpoints (user_id, name, channel, address, settings, verified_at, created_by)
        SELECT DISTINCT ON (address) '-run-webhooks', left(md5(address), 16), 'webhook', address,
            jsonb_build_object('secret', webhook -> 'secrets'), clock_timestamp(), login
        FROM (SELECT webhook_address(e -> 'webhook') AS address, e -> 'webhook' AS webhook FROM jsonb_array_elements(requests) AS e
              WHERE jsonb_typeof(e -> 'webhook') = 'object') AS each
        ORDER BY address ON CONFLICT DO NOTHING;
    END IF;
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
                          start_at, is_waiting, prepare_attempts, webhook)
        OVERRIDING SYSTEM VALUE
        SELECT new_id, request ->> 'job', '',
               coalesce(request ->> 'universe', (SELECT string_agg(item, ',') FROM jsonb_array_elements_text(
                   coalesce(nullif(request -> 'symbols', 'null'), nullif(request -> 'items', 'null'))) AS item),
                   request ->> 'job'),
               (request ->> 'as_of')::timestamptz, coalesce(nullif(request -> 'parameters', 'null'), '{}'), 0,
               coalesce((request ->> 'max_attempts')::integer, 1), clock_timestamp(), NULL,
               request - ARRAY['job', 'key', 'user', 'traceparent', 'start_at', 'webhook'], login, requested_by, request ->> 'key',
               sha256(convert_to(canonical::text, 'UTF8')), canonical, request ->> 'traceparent', start_at,
               waits, CASE WHEN waits THEN -1 ELSE 0 END, nullif(request -> 'webhook', 'null')
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
