-- Sets the open items of a run, in a full Redis, too: see requeue_entry.lua.
-- KEYS: open items. ARGV: run id, number; 0 forgets the run.
-- Returns 1. Bound: one field.
redis.call('HDEL', KEYS[1], ARGV[1])
if tonumber(ARGV[2]) > 0 then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return 1
