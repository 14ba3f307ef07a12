-- Runs have a priority. `runs.queue` holds the lane of a run: the queue, and behind a slash its priority unless it is normal.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

-- As before, and with a priority. It is no part of the canonical form: the same key with another priority is the same run.
-- What is wrong with a request: null if nothing is, '' if no process has its job. It is sound if it fits one row of its job.
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
                       'max_attempts', 'priority', 'key', 'user', 'traceparent', 'start_at', 'after', 'after_when'] <> '{}' THEN
        SELECT name INTO field FROM jsonb_object_keys(request - ARRAY['job', 'parameters', 'universe', 'symbols', 'items',
            'timeframe', 'timeframes', 'as_of', 'max_attempts', 'priority', 'key', 'user', 'traceparent', 'start_at',
            'after', 'after_when']) AS name LIMIT 1;
        RETURN format('field %L is not known; known are job, parameters, universe, symbols, items, timeframe, timeframes,'
                      ' as_of, max_attempts, priority, key, user, traceparent, start_at, after, after_when', left(field, 80));
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

-- As before, and with the priority; null until a run that names none is prepared.
CREATE OR REPLACE VIEW client_runs WITH (security_barrier) AS
SELECT id, run_uuid AS run_id, job, status, item_count, completed_count, failed_count, cancelled_count,
       submit_key AS key, requested_by AS "user", created_at, prepared_at, started_at, completed_at, reason,
       target, timeframe, as_of, parameters, last_event,
       start_at, is_waiting AND status = 'PENDING' AS is_waiting,
       ARRAY(SELECT awaited_id FROM run_dependencies WHERE run_id = runs.id ORDER BY awaited_id) AS after,
       (SELECT min(needs) FROM run_dependencies WHERE run_id = runs.id) AS after_when,
       CASE WHEN prepared_at IS NULL THEN request ->> 'priority' ELSE coalesce(nullif(split_part(queue, '/', 2), ''), 'normal') END
           AS priority
FROM runs WHERE submitted_by = session_user::text;

-- As before: the queue, not the lane.
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
       jsonb_build_object('run', r.id, 'job_type', r.job, 'queue', split_part(r.queue, '/', 1),
                          'target', r.target, 'timeframe', r.timeframe,
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

-- The priority of the runs of a schedule; null: by the number of their items.
ALTER TABLE schedules ADD COLUMN priority text CHECK (priority IN ('high', 'normal', 'low'));

-- The new column is part of the definition, for the two triggers that see it change.
DO $$
DECLARE
    name    text;
    columns text;
BEGIN
    FOREACH name IN ARRAY ARRAY['schedules_changed', 'schedules_notify'] LOOP
        SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.place) INTO columns
        FROM pg_trigger t CROSS JOIN unnest(t.tgattr::int2[]) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attnum = k.number
        WHERE t.tgrelid = 'schedules'::regclass AND t.tgname = name;
        columns := columns || ', priority';
        EXECUTE format('DROP TRIGGER %I ON schedules', name);
        IF name = 'schedules_changed' THEN
            EXECUTE format('CREATE TRIGGER schedules_changed BEFORE UPDATE OF %s ON schedules'
                           ' FOR EACH ROW EXECUTE FUNCTION schedules_changed()', columns);
        ELSE
            EXECUTE format('CREATE TRIGGER schedules_notify AFTER INSERT OR DELETE OR UPDATE OF %s ON schedules'
                           ' FOR EACH STATEMENT EXECUTE FUNCTION notify_listeners(''streamworkers_schedules'')', columns);
        END IF;
    END LOOP;
END
$$;

-- As before: the queue, not the lane.
CREATE OR REPLACE FUNCTION schedule_progress(at timestamptz) RETURNS TABLE (
    name text, job text, enabled boolean, comes_after text, next_tick timestamptz, due timestamptz, tick_state text,
    reason text, run_id bigint, status text, started timestamptz, ended timestamptz, items integer, completed bigint,
    failed bigint, last_closed timestamptz, usual_seconds double precision, usual_lag double precision, runs_before bigint
) LANGUAGE sql STABLE AS $$
    WITH scheduled AS (
        SELECT s.id AS schedule_id, s.name, s.job, s.enabled, s.after AS comes_after, s.next_run_at AS next_tick,
               t.scheduled_for AS due, t.state AS tick_state, coalesce(s.problem, t.reason) AS reason,
               coalesce(t.run_id, e.id) AS run_id, s.cron IS NOT NULL AS is_planned
        FROM schedules s
        LEFT JOIN LATERAL (
            SELECT scheduled_for, state, ticks.reason, ticks.run_id FROM ticks
            WHERE schedule_id = s.id AND scheduled_for <= at ORDER BY scheduled_for DESC LIMIT 1
        ) t ON true
        -- Runs that an event started have no tick.
        LEFT JOIN LATERAL (
            SELECT max(id) AS id FROM runs
            WHERE schedule_id = s.id AND scheduled_for IS NULL AND created_at BETWEEN at - interval '1 day' AND at
        ) e ON t.run_id IS NULL
        -- One that has ended is shown for a day after its last tick.
        WHERE s.next_run_at IS NOT NULL OR NOT (coalesce(s.ends_at <= at, false) OR coalesce(s.cron LIKE 'at %', false))
            OR t.scheduled_for > at - interval '1 day'
    ), loose AS (
        -- By id, so that a ledger with millions of small runs is not read to its end.
        SELECT max(id) AS run_id, r.job
        FROM runs r
        WHERE id > (SELECT max(id) - 20000 FROM runs) AND schedule_id IS NULL AND scheduled_for IS NULL AND item_count > 1
          AND created_at BETWEEN at - interval '1 day' AND at
        GROUP BY r.job
    ), newest AS (
        SELECT * FROM scheduled
        UNION ALL
        SELECT NULL, l.job, l.job, true, NULL, NULL, NULL, NULL, NULL, l.run_id, false FROM loose l
    )
    SELECT n.name, n.job, n.enabled, n.comes_after, n.next_tick, coalesce(n.due, r.scheduled_for), n.tick_state, n.reason,
           r.id, CASE WHEN r.completed_at <= at THEN r.status
                      WHEN r.id IS NOT NULL THEN CASE WHEN r.started_at <= at THEN 'RUNNING' ELSE 'PENDING' END END,
           CASE WHEN r.started_at <= at THEN r.started_at END, CASE WHEN r.completed_at <= at THEN r.completed_at END,
           r.item_count, coalesce(i.completed, r.completed_count, 0), coalesce(i.failed, r.failed_count, 0),
           i.last_closed, b.seconds, b.lag, coalesce(b.runs, 0)
    FROM newest n
    LEFT JOIN runs r ON r.id = n.run_id
    LEFT JOIN LATERAL (
        SELECT count(*) FILTER (WHERE ri.status = 'completed' AND ri.finished_at <= at) AS completed,
               count(*) FILTER (WHERE ri.status = 'failed' AND ri.finished_at <= at) AS failed,
               max(ri.finished_at) FILTER (WHERE ri.finished_at <= at) AS last_closed
        FROM run_items ri
        WHERE ri.run_day = r.run_day AND ri.run_id = r.id
    ) i ON r.completed_at IS NULL OR r.completed_at > at
    LEFT JOIN LATERAL (
        SELECT count(*) AS runs, percentile_cont(0.5) WITHIN GROUP (ORDER BY p.seconds) AS seconds,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY p.lag) AS lag
        FROM (
            SELECT extract(epoch FROM completed_at - coalesce(started_at, created_at))::double precision AS seconds,
                   extract(epoch FROM completed_at - scheduled_for)::double precision AS lag
            FROM runs
            WHERE n.schedule_id IS NOT NULL AND schedule_id = n.schedule_id AND id IS DISTINCT FROM r.id
              AND scheduled_for BETWEEN at - interval '15 days' AND at
              AND runs.status IN ('COMPLETED', 'COMPLETED_WITH_ERRORS')
            UNION ALL
            SELECT extract(epoch FROM completed_at - coalesce(started_at, created_at))::double precision, NULL
            FROM runs
            WHERE n.schedule_id IS NULL AND schedule_id IS NULL AND runs.scheduled_for IS NULL AND runs.job = n.job
              AND id < r.id AND item_count > 1
              AND id > (SELECT max(id) - 20000 FROM runs) AND created_at > at - interval '15 days'
              AND runs.status IN ('COMPLETED', 'COMPLETED_WITH_ERRORS')
        ) p
    ) b ON true
    WHERE split_part(coalesce(r.queue, (SELECT queue FROM job_types WHERE job_types.name = n.job LIMIT 1), ''), '/', 1)
        <> 'maintenance'
      AND (n.is_planned OR r.id IS NOT NULL)
$$;
