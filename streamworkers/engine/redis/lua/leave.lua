-- Deletes a consumer that has nothing pending; deleting one that has would lose its entries.
-- KEYS: stream. ARGV: group, consumer.
-- Returns 1 if it is gone, 0 if it has pending entries. Bound: one consumer.
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then
    return 0
end
-- Redis 6.2 takes XGROUP for a command that needs memory, so that it must not be the first write: see requeue_entry.lua.
redis.call('XACK', KEYS[1], ARGV[1], '0-0')
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
