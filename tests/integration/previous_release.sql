-- A busy database of the release before 0.2.0 (migrations 0001 to 0009), for test_rename_migration.py.

SELECT ensure_job_run_items_partition(day::date)
FROM generate_series(date '2026-11-24', date '2026-11-26', interval '1 day') AS day;

INSERT INTO job_schedules (name, job_type, target, timeframe, task_params, cron, on_event, calendar, enabled, catch_up,
                           misfire_grace_seconds, max_instances, "coalesce", after, min_coverage, jitter_seconds,
                           next_run_at, due_at, problem, user_id)
VALUES
    ('nightly', 'ledger_entry', '{"universe": "sp500"}', 'day', '{"milliseconds": 1.5}', 'session_close+10m', NULL, 'XNYS',
     true, 'all', 600, 2, false, NULL, 1, 30, '2026-11-27 18:10-05', '2026-11-27 18:10:12-05', NULL, 'ann'),
    ('patterns_after', 'patterns', '{"symbols": ["AAPL"]}', NULL, '{}', '10 18 * * 1-5', NULL, NULL, true, 'latest', 300, 1,
     true, 'nightly', 0.9, 0, NULL, NULL, 'no session is known', NULL),
    ('on_load', 'analysis', '{"universe": "mine"}', 'hour', '{}', NULL, 'data_load_complete', NULL, false, 'skip', 300, 1,
     true, NULL, 1, 0, NULL, NULL, NULL, NULL);

INSERT INTO job_schedule_runs (job, queue, status, target, timeframe, as_of, parameters, idempotency_key, item_count,
                               max_attempts, run_day, created_at, enqueued_at, started_at, completed_at, completed_count,
                               failed_count, cancelled_count, schedule_id, schedule, scheduled_for, trigger, external_id,
                               requested_by, status_told)
VALUES
    ('ledger_entry', 'tests', 'RUNNING', 'sp500', NULL, NULL, '{}', 'tick:1', 6, 3, '2026-11-25', '2026-11-25 23:10Z',
     '2026-11-25 23:10:01Z', '2026-11-25 23:10:02Z', NULL, NULL, NULL, NULL, 1, 'nightly', '2026-11-25 18:10-05',
     'schedule', NULL, 'ann', false),
    ('ledger_entry', 'tests', 'PENDING', 'AAA,BBB', NULL, NULL, '{"milliseconds": 2.0}', NULL, 2, 3, '2026-11-26',
     '2026-11-26 09:00Z', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'manual', NULL, NULL, false),
    ('analysis', 'analysis', 'COMPLETED', 'sp500', 'day', '2026-11-24 05:00Z', '{"max_bars": 500}', 'key:3', 2, 3,
     '2026-11-24', '2026-11-24 23:00Z', '2026-11-24 23:00:01Z', '2026-11-24 23:00:02Z', '2026-11-24 23:00:12.5Z', 2, 0, 0,
     1, 'nightly', '2026-11-24 18:10-05', 'schedule', NULL, NULL, false),
    ('analysis', 'analysis', 'COMPLETED_WITH_ERRORS', 'sp500', 'day', NULL, '{}', NULL, 2, 3, '2026-11-24',
     '2026-11-24 23:00Z', '2026-11-24 23:00:01Z', '2026-11-24 23:01Z', '2026-11-24 23:02Z', 1, 1, 0, NULL, NULL, NULL,
     'event', 'load-7', 'desk', true),
    ('load_ohlcv', 'load', 'FAILED', 'mine', NULL, NULL, '{}', NULL, 2, 2, '2026-11-25', '2026-11-25 10:00Z',
     '2026-11-25 10:00:01Z', '2026-11-25 10:00:03Z', '2026-11-25 10:05Z', 0, 2, 0, 2, 'patterns_after',
     '2026-11-25 05:00-05', 'schedule', 'load-8', 'desk', false),
    ('analysis', 'analysis', 'CANCELLED', 'mine', NULL, NULL, '{}', NULL, 1, 3, '2026-11-25', '2026-11-25 11:00Z',
     '2026-11-25 11:00:01Z', NULL, '2026-11-25 11:01Z', 0, 0, 1, NULL, 'removed_since', NULL, 'schedule', NULL, NULL, false);

INSERT INTO job_run_items (run_day, run_id, seq, symbol, timeframe, status, attempt, worker, started_at, finished_at,
                           result, error, history, opening)
VALUES
    ('2026-11-25', 1, 0, 'AAA', NULL, 'completed', 1, 'host:1', '2026-11-25 23:10:02Z', '2026-11-25 23:10:03Z',
     '{"length": 3}', NULL, NULL, 0),
    ('2026-11-25', 1, 1, 'BBB', NULL, 'retrying', 1, 'host:1', '2026-11-25 23:10:02Z', NULL, NULL, 'ValueError: bad',
     '[{"attempt": 1, "worker": "host:1", "at": "2026-11-25T23:10:03Z", "error": "ValueError: bad"}]', 0),
    ('2026-11-25', 1, 2, 'CCC', NULL, 'pending', 0, NULL, NULL, NULL, NULL, NULL, NULL, 0),
    ('2026-11-25', 1, 3, 'DDD', NULL, 'pending', 0, NULL, NULL, NULL, NULL, NULL, NULL, 0),
    ('2026-11-25', 1, 4, 'EEE', NULL, 'pending', 0, NULL, NULL, NULL, NULL, NULL, NULL, 0),
    ('2026-11-25', 1, 5, 'FFF', NULL, 'pending', 0, 'host:2', '2026-11-25 23:10:02Z', NULL, NULL, NULL,
     '[{"attempt": 3, "worker": "host:2", "at": "2026-11-25T23:10:03Z", "error": "timeout after 60 s"}]', 1),
    ('2026-11-26', 2, 0, 'AAA', NULL, 'pending', 0, NULL, NULL, NULL, NULL, NULL, NULL, 0),
    ('2026-11-26', 2, 1, 'BBB', NULL, 'pending', 0, NULL, NULL, NULL, NULL, NULL, NULL, 0),
    ('2026-11-24', 3, 0, 'AAPL', 'day', 'completed', 1, 'host:1', '2026-11-24 23:00:02Z', '2026-11-24 23:00:12Z',
     '{"bars": 5, "refused": {"rule": 1}}', NULL, NULL, 0),
    ('2026-11-24', 3, 1, 'MSFT', 'day', 'completed', 2, 'host:2', '2026-11-24 23:00:02Z', '2026-11-24 23:00:12.5Z',
     '{"state": "stale"}', NULL, '[{"attempt": 1, "worker": "host:1", "at": "2026-11-24T23:00:05Z", "error": "x"}]', 0),
    ('2026-11-24', 4, 0, 'AAPL', 'day', 'completed', 1, 'host:1', NULL, '2026-11-24 23:02Z', NULL, NULL, NULL, 0),
    ('2026-11-24', 4, 1, 'MSFT', 'day', 'failed', 3, 'host:2', NULL, '2026-11-24 23:01Z', NULL, 'no bars', NULL, 0),
    ('2026-11-25', 5, 0, 'AAPL', 'day', 'failed', 2, 'host:2', NULL, '2026-11-25 10:05Z', NULL, 'HTTP 500', NULL, 0),
    ('2026-11-25', 5, 1, 'AAPL', 'hour', 'failed', 2, 'host:3', NULL, '2026-11-25 10:04Z', NULL, 'HTTP 500', NULL, 2),
    ('2026-11-25', 6, 0, 'AAPL', NULL, 'cancelled', 0, NULL, NULL, '2026-11-25 11:01Z', NULL, NULL, NULL, 0);

INSERT INTO job_schedule_ticks (schedule_id, scheduled_for, session, state, ticks, reason, detail, run_id)
VALUES
    (1, '2026-11-24 18:10-05', '2026-11-24', 'started', 1, NULL, NULL, 3),
    (1, '2026-11-25 18:10-05', '2026-11-25', 'started', 1, NULL, '{"run": 1}', 1),
    (2, '2026-11-23 18:10-05', '2026-11-23', 'missed', 4, 'too late', NULL, NULL),
    (2, '2026-11-24 18:10-05', '2026-11-24', 'skipped', 1, 'the run before it failed', '{"missing": ["A"]}', NULL),
    (2, '2026-11-25 18:10-05', '2026-11-25', 'waiting', 1, 'waits for nightly', '{"run": 1, "coverage": 0.2}', NULL),
    (2, '2026-11-22 18:10-05', '2026-11-22', 'refused', 1, 'no such universe', NULL, NULL);

INSERT INTO event_outbox (channel, payload) VALUES ('tickstock.events.patterns', '{"symbol": "AAPL"}'), ('tests', '{}');
INSERT INTO job_totals VALUES ('tests', 'ledger_entry', 8), ('load', 'load_ohlcv', 123456789012);
INSERT INTO refused_entries (queue, entry_id, reason, size, payload)
VALUES ('tests', '1790000000000-0', 'entry is not msgpack', 4, '\x00ff00c1');
INSERT INTO bar_bases VALUES
    ('AAPL', 'day', 'massive', true, 'regular', 'clock', '2026-11-25', '2020-08-31', '2026-11-25 23:00Z', NULL, 5),
    ('AAPL', 'hour', 'csv', NULL, 'extended', 'open', '2026-11-25', NULL, '2026-11-25 23:00Z', '2026-11-25 22:59Z', 5);
INSERT INTO load_pages (run_id, key, page, packed, cursor, refused)
VALUES (5, 'AAPL/day', 0, '\x0102', 'next', '[{"rule": "high < low"}]'), (5, 'AAPL/day', 1, '\x03', NULL, '[]');
INSERT INTO msg_system_health (component, status, message, detail, run_id)
VALUES ('redis', 'ok', 'fine', '{"ms": 1}', NULL), ('bars', 'critical', 'AAPL is old', '{}', 3);
