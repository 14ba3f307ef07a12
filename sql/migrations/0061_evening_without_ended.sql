-- As before, without schedules that have ended: otherwise each run once at a moment would stay on the board for good.
SELECT set_config('search_path', current_schema() || ', pg_temp', true);

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
    WHERE coalesce(r.queue, (SELECT queue FROM job_types WHERE job_types.name = n.job LIMIT 1), '') <> 'maintenance'
      AND (n.is_planned OR r.id IS NOT NULL)
$$;
