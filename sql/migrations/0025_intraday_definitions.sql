-- The volume-weighted mean price since the session's opening, and since the beginning of the day in New York.

INSERT INTO indicator_definitions (name, function, params, timeframes) VALUES
    ('session_vwap', 'anchored_vwap', '{"anchor": "session"}', '{1min,hour}'),
    ('day_vwap', 'anchored_vwap', '{"anchor": "day"}', '{1min,hour}')
ON CONFLICT (name) DO NOTHING;
