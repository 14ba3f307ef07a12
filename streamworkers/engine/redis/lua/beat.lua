-- Writes a heartbeat, or the flag of a paused queue, in a full Redis, too: see requeue_entry.lua.
-- KEYS: what is written. ARGV: its text, time to live in ms.
-- Returns 1. Bound: one key.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
