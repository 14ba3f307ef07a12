-- Deletes a consumer that has nothing pending; deleting one that has would lose its entries.
-- KEYS: stream. ARGV: group, consumer.
-- Returns 1 if it is gone, 0 if it has pending entries. Bound: one consumer.
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then
    return 0
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
