-- Takes or keeps a fleet-wide lease.
-- KEYS: lease. ARGV: owner, length in ms.
-- Returns 1 if the owner holds it now, 0 if another one does. Bound: one key.
-- A lease that ends later than one taken now is from before the clock was set back.
local owner = redis.call('GET', KEYS[1])
if owner == ARGV[1] then
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
if owner and redis.call('PTTL', KEYS[1]) <= tonumber(ARGV[2]) then
    return 0
end
-- The services work in a full Redis, too, so that it drains: see requeue_entry.lua.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
