-- For boards: how far the newest run of each schedule was at a moment, when it is done, and what to say about it.
-- Both functions only read, by the rights of the caller, and look at a moment in the past as at this one.

-- One row for each schedule that has times, or a run within a day, and for each job whose runs no schedule started within a
-- day. Housekeeping, which has its own queue, is left out. Durations before are those of two weeks; a run that was open at the moment is counted from its items.
CREATE FUNCTION schedule_progress(at timestamptz) RETURNS TABLE (
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
    ), loose AS (
        -- By id, so that a ledger with millions of small runs is not read to its end.
        SELECT max(id) AS run_id, r.job
        FROM runs r
        WHERE id > (SELECT max(id) - 20000 FROM runs) AND schedule_id IS NULL AND item_count > 1
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
            WHERE n.schedule_id IS NULL AND schedule_id IS NULL AND runs.job = n.job AND id < r.id AND item_count > 1
              AND id > (SELECT max(id) - 20000 FROM runs) AND created_at > at - interval '15 days'
              AND runs.status IN ('COMPLETED', 'COMPLETED_WITH_ERRORS')
        ) p
    ) b ON true
    WHERE coalesce(r.queue, (SELECT queue FROM job_types WHERE job_types.name = n.job LIMIT 1), '') <> 'maintenance'
      AND (n.is_planned OR r.id IS NOT NULL)
$$;

-- The evening: what is known of each schedule, in words. `act` is 3 where somebody must act, 2 where somebody should look,
-- 1 while it is going on, 0 when it is done, and -1 before anything has happened. The deadline is a time of day in New York;
-- it binds what is due in the four hours before it.
CREATE FUNCTION evening(at timestamptz, deadline time) RETURNS TABLE (
    act integer, state text, name text, job text, run_id bigint, items integer, completed bigint, failed bigint,
    due timestamptz, started timestamptz, ended timestamptz, done_at timestamptz, usual_at timestamptz,
    deadline_at timestamptz, verdict text
) LANGUAGE sql STABLE AS $$
    WITH RECURSIVE paced AS (
        SELECT p.*, coalesce(p.due, p.started) AS began, (p.completed + p.failed) AS closed,
               extract(epoch FROM at - p.started)::double precision AS elapsed,
               extract(epoch FROM at - coalesce(p.last_closed, p.started))::double precision AS quiet,
               p.next_tick BETWEEN at AND at + interval '3 hours' AND p.run_id IS NOT NULL AND p.ended IS NOT NULL
                   AND (p.next_tick AT TIME ZONE 'America/New_York')::date
                       > (p.due AT TIME ZONE 'America/New_York')::date AS soon
        FROM schedule_progress(at) p
    ), timed AS (
        SELECT p.*,
               CASE WHEN soon OR began IS NULL THEN next_tick ELSE began END AS begins,
               -- At least five items and a tenth of a minute: an estimate from less is a guess.
               CASE WHEN ended IS NOT NULL THEN ended
                    WHEN closed >= 5 AND elapsed > 6 THEN started + make_interval(secs => elapsed * items / closed)
                    WHEN started + make_interval(secs => usual_seconds) > at
                        THEN started + make_interval(secs => usual_seconds) END AS own_end
        FROM paced p
    ), ending AS (
        SELECT t.name, t.comes_after, 0 AS depth, CASE WHEN soon THEN NULL ELSE t.own_end END AS done_at
        FROM timed t WHERE t.comes_after IS NULL OR t.run_id IS NOT NULL AND NOT soon
        UNION ALL
        -- What comes after another begins when that one is done.
        SELECT t.name, t.comes_after, e.depth + 1,
               greatest(e.done_at, t.begins) + make_interval(secs => t.usual_seconds)
        FROM timed t JOIN ending e ON t.comes_after = e.name
        WHERE (t.run_id IS NULL OR soon) AND e.depth < 10
    ), judged AS (
        SELECT t.*, e.done_at,
               CASE WHEN coalesce(soon, true) OR due IS NULL THEN t.next_tick ELSE due END
                   + make_interval(secs => usual_lag) AS usual_at,
               ((begins AT TIME ZONE 'America/New_York')::date + deadline) AT TIME ZONE 'America/New_York' AS day_deadline
        FROM timed t LEFT JOIN ending e ON e.name = t.name
    ), bound AS (
        SELECT j.*, CASE WHEN day_deadline BETWEEN begins AND begins + interval '4 hours' THEN day_deadline END
                   AS deadline_at
        FROM judged j
    ), stated AS (
        SELECT b.*, CASE
                WHEN NOT enabled THEN 'paused'
                WHEN next_tick < at - interval '1 minute' THEN 'overdue'
                WHEN soon THEN 'due'
                WHEN tick_state IN ('missed', 'skipped', 'rejected') THEN tick_state
                WHEN run_id IS NULL AND tick_state = 'waiting' THEN
                    CASE WHEN coalesce(done_at, at) > deadline_at THEN 'late' ELSE 'waiting' END
                WHEN run_id IS NULL THEN CASE WHEN runs_before = 0 THEN 'nothing yet' ELSE 'due' END
                WHEN ended IS NOT NULL AND status = 'CANCELLED' THEN 'cancelled'
                WHEN ended IS NOT NULL AND (status = 'FAILED' OR completed < 0.99 * items) THEN 'incomplete'
                WHEN ended IS NOT NULL AND failed > 0 THEN 'with errors'
                WHEN ended > deadline_at THEN 'done late'
                WHEN ended IS NOT NULL THEN 'done'
                WHEN coalesce(quiet, extract(epoch FROM at - begins)) > greatest(
                         CASE WHEN items >= 20 THEN 120 ELSE 300 END,
                         CASE WHEN items >= 20 THEN 0.25 ELSE 2 END * coalesce(usual_seconds, 0)) THEN 'stuck'
                WHEN coalesce(done_at, at) > deadline_at THEN 'late'
                WHEN done_at > usual_at + make_interval(secs => 0.5 * usual_seconds + 60) THEN 'slow'
                ELSE 'on time' END AS state
        FROM bound b
    ), worded AS (
        SELECT s.*, to_char(at AT TIME ZONE 'America/New_York', 'YYYY-MM-DD') AS today,
               completed || ' of ' || items || CASE WHEN failed > 0 THEN ', ' || failed || ' failed' ELSE '' END AS counts,
               concat(', usually ' || to_char(usual_at AT TIME ZONE 'America/New_York', 'HH24:MI'),
                      -- Of no interest once it has been met.
                      CASE WHEN ended IS NULL OR soon OR ended > deadline_at
                          THEN ', deadline ' || to_char(deadline_at AT TIME ZONE 'America/New_York', 'HH24:MI') END) AS limits,
               coalesce(' about ' || to_char(done_at AT TIME ZONE 'America/New_York', 'HH24:MI'), ' at an unknown time') AS about,
               to_char(begins AT TIME ZONE 'America/New_York', CASE WHEN (begins AT TIME ZONE 'America/New_York')::date
                   = (at AT TIME ZONE 'America/New_York')::date THEN 'HH24:MI' ELSE 'Dy HH24:MI' END) AS begins_at,
               to_char(ended AT TIME ZONE 'America/New_York', CASE WHEN (ended AT TIME ZONE 'America/New_York')::date
                   = (at AT TIME ZONE 'America/New_York')::date THEN 'HH24:MI' ELSE 'Dy HH24:MI' END) AS ended_at
        FROM stated s
    )
    SELECT CASE WHEN w.state IN ('overdue', 'missed', 'rejected', 'late', 'incomplete', 'stuck') THEN 3
                WHEN w.state IN ('paused', 'skipped', 'with errors', 'slow', 'cancelled', 'done late') THEN 2
                WHEN w.state IN ('waiting', 'on time') THEN 1
                WHEN w.state = 'done' THEN 0 ELSE -1 END,
           w.state, w.name, w.job, w.run_id, w.items, w.completed, w.failed, w.due, w.started, w.ended, w.done_at, w.usual_at,
           w.deadline_at,
           CASE w.state
               WHEN 'paused' THEN 'paused: streamworkers schedules resume ' || w.name
               WHEN 'overdue' THEN 'due ' || to_char(next_tick AT TIME ZONE 'America/New_York', 'HH24:MI')
                   || ', not decided' || coalesce(': ' || reason, ': is a scheduler running?')
               WHEN 'due' THEN concat('due ' || to_char(next_tick AT TIME ZONE 'America/New_York', 'HH24:MI'),
                   CASE WHEN next_tick IS NULL THEN 'after ' || comes_after END, limits)
               WHEN 'nothing yet' THEN concat('nothing yet: first run ', coalesce(
                   to_char(next_tick AT TIME ZONE 'America/New_York', 'Dy HH24:MI'), 'after ' || comes_after, 'on its event'))
               WHEN 'waiting' THEN 'waits for ' || coalesce(comes_after, 'a free instance') || ', done' || about || limits
               WHEN 'on time' THEN counts || ', done' || about || limits
               WHEN 'slow' THEN counts || ', done' || about || limits
               WHEN 'late' THEN concat(CASE WHEN run_id IS NULL THEN 'waits for ' || comes_after ELSE counts END,
                   ', done' || about || limits)
               WHEN 'stuck' THEN counts || ', nothing closed for '
                   || round(coalesce(quiet, extract(epoch FROM at - begins)) / 60) || ' min' || limits
               WHEN 'done' THEN counts || ', done ' || ended_at || limits
               WHEN 'done late' THEN counts || ', done ' || ended_at || limits
               WHEN 'with errors' THEN counts || ', done ' || ended_at || limits
               WHEN 'incomplete' THEN counts || ', ended ' || ended_at || limits
               WHEN 'cancelled' THEN counts || ', cancelled ' || ended_at
               ELSE 'tick of ' || begins_at || ' ' || w.state || coalesce(': ' || reason, '') END
    FROM worded w
$$;
