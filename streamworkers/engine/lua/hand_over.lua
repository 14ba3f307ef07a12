-- Puts the pending entries of one consumer back into the queue; a reason says that the consumer died over them.
-- KEYS: stream. ARGV: group, consumer, reason, limit.
-- Returns the number put back. Bound: limit.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[4], ARGV[2])
for _, record in ipairs(pending) do
    put_back(KEYS[1], ARGV[1], record[1], ARGV[3])
end
return #pending
