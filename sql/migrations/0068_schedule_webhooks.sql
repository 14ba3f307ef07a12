-- A schedule may have a webhook, which each of its runs carries. It is checked by the rule of those of submitted runs, whichever
-- program stores it: at the end of a run nobody is there any more who could correct it.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

ALTER TABLE schedules
    ADD COLUMN webhook jsonb,                               -- {"url": a URL or env:NAME, "secrets": [env:NAME, …]}
    ADD CONSTRAINT schedules_webhook_shape CHECK (jsonb_typeof(webhook) = 'object');

-- What a submission does for its webhook, for runs that are not submitted.
CREATE FUNCTION keep_webhook_endpoint(webhook jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO endpoints (user_id, name, channel, address, settings, verified_at, created_by)
    SELECT '-run-webhooks', left(md5(address), 16), 'webhook', address, jsonb_build_object('secret', webhook -> 'secrets'),
        clock_timestamp(), session_user::text
    FROM (SELECT webhook_address(webhook) AS address) AS each
    ON CONFLICT DO NOTHING
$$;

CREATE FUNCTION keep_schedule_webhook() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    problem text := find_webhook_error(NEW.webhook);
BEGIN
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'schedule %: %', quote_literal(NEW.name), problem USING ERRCODE = 'SW001';
    END IF;
    PERFORM keep_webhook_endpoint(NEW.webhook);
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION keep_webhook_endpoint(jsonb), keep_schedule_webhook() FROM PUBLIC;
CREATE TRIGGER schedules_keep_webhook BEFORE INSERT OR UPDATE OF webhook ON schedules FOR EACH ROW
    WHEN (NEW.webhook IS NOT NULL) EXECUTE FUNCTION keep_schedule_webhook();

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
        columns := columns || ', webhook';
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

-- As before, and it says of which tick the run is: the receiver of a schedule's webhook hears of many.
CREATE OR REPLACE FUNCTION call_webhook() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
BEGIN
    INSERT INTO deliveries (user_id, endpoint_id, channel, type, priority, ended_run_id, content, parts)
    SELECT '-run-webhooks', (SELECT id FROM endpoints WHERE user_id = '-run-webhooks' AND channel = 'webhook'
                             AND address = webhook_address(NEW.webhook)),
           'webhook', 'run_ended', 'normal', NEW.id, '{}',
           jsonb_build_array(jsonb_build_object('body', jsonb_build_object(
               'type', 'run.ended', 'timestamp', to_jsonb(clock_timestamp()), 'data', jsonb_build_object(
                   'id', NEW.id, 'run_id', NEW.run_uuid, 'job', NEW.job, 'status', NEW.status, 'reason', NEW.reason,
                   'target', left(NEW.target, 1000), 'key', coalesce(NEW.submit_key, NEW.idempotency_key), 'user', NEW.requested_by,
                   'schedule', NEW.schedule, 'scheduled_for', NEW.scheduled_for, 'trigger', NEW.trigger,
                   'traceparent', NEW.traceparent, 'items', NEW.item_count, 'completed', NEW.completed_count,
                   'failed', NEW.failed_count, 'cancelled', NEW.cancelled_count, 'created_at', NEW.created_at,
                   'started_at', NEW.started_at, 'completed_at', NEW.completed_at, 'last_event', NEW.last_event))::text));
    RETURN NULL;
END
$$;

-- A run of a schedule that has nothing to do ends as it begins.
CREATE TRIGGER runs_call_webhook_at_once AFTER INSERT ON runs FOR EACH ROW
    WHEN (NEW.webhook IS NOT NULL AND NEW.status NOT IN ('PENDING', 'RUNNING'))
    EXECUTE FUNCTION call_webhook();

-- As before, and the webhook with its newest call; of a URL, what may be shown: what follows the host can be a secret.
CREATE OR REPLACE VIEW client_runs WITH (security_barrier) AS
SELECT id, run_uuid AS run_id, job, status, item_count, completed_count, failed_count, cancelled_count,
       submit_key AS key, requested_by AS "user", created_at, prepared_at, started_at, completed_at, reason,
       target, timeframe, as_of, parameters, last_event,
       start_at, is_waiting AND status = 'PENDING' AS is_waiting,
       ARRAY(SELECT awaited_id FROM run_dependencies WHERE run_id = runs.id ORDER BY awaited_id) AS after,
       (SELECT min(needs) FROM run_dependencies WHERE run_id = runs.id) AS after_when,
       CASE WHEN prepared_at IS NULL THEN request ->> 'priority' ELSE coalesce(nullif(split_part(queue, '/', 2), ''), 'normal') END
           AS priority,
       CASE WHEN webhook IS NOT NULL THEN (
           SELECT jsonb_build_object(
               'url', regexp_replace(runs.webhook ->> 'url', '^(https?://[^/?]+).*$', '\1/…'),
               'state', coalesce(d.state, CASE WHEN runs.status IN ('PENDING', 'RUNNING') THEN 'waiting' ELSE 'removed' END),
               'attempts', coalesce(d.attempts, 0), 'reason', d.reason, 'id', d.id, 'sent_at', date_trunc('second', d.sent_at))
           FROM (SELECT) AS one LEFT JOIN LATERAL (
               SELECT * FROM deliveries WHERE ended_run_id = runs.id ORDER BY created_at DESC LIMIT 1) d ON true
       ) END AS webhook
FROM runs WHERE submitted_by = session_user::text;
