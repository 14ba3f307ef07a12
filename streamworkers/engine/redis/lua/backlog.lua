-- Counts the entries of a queue at one moment; not in a transaction, which a full Redis 6.2 rejects.
-- KEYS: stream, delayed set. ARGV: group.
-- Returns {entries of the stream, delayed entries, pending entries (0 without a group)}. Bound: three counts.
local length, delayed = redis.call('XLEN', KEYS[1]), redis.call('ZCARD', KEYS[2])
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1])
if pending.err and not string.find(pending.err, 'NOGROUP') then
    return pending
end
return {length, delayed, pending.err and 0 or pending[1]}
