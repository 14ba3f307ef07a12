-- Sets the open items of runs, in a full Redis, too: see requeue_entry.lua.
-- KEYS: open items. ARGV: run id, number, …; 0 forgets a run.
-- Returns 1. Bound: one field for each run; the caller names those of a delivery at most.
for i = 1, #ARGV, 2 do
    redis.call('HDEL', KEYS[1], ARGV[i])
    if tonumber(ARGV[i + 1]) > 0 then
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    end
end
return 1
