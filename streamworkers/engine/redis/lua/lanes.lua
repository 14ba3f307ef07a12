-- Counts the entries of lanes at one moment, and finds the oldest of each stream without sending it; not in a transaction,
-- which a full Redis 6.2 rejects.
-- KEYS: stream, delayed set, of each lane. ARGV: group.
-- Returns {seconds, microseconds of the clock}, and for each lane {entries of the stream, delayed entries, pending entries
-- (0 without a group), id of the oldest ('' if there is none)}. Bound: a few counts of each lane.
local answer = {redis.call('TIME')}
for i = 1, #KEYS, 2 do
    local length, delayed = redis.call('XLEN', KEYS[i]), redis.call('ZCARD', KEYS[i + 1])
    local pending, oldest = {0}, nil
    if length > 0 then
        pending = redis.pcall('XPENDING', KEYS[i], ARGV[1])
        if pending.err and not string.find(pending.err, 'NOGROUP') then
            return pending
        end
        oldest = redis.call('XRANGE', KEYS[i], '-', '+', 'COUNT', 1)[1]
    end
    answer[#answer + 1] = {length, delayed, pending.err and 0 or pending[1], oldest and oldest[1] or ''}
end
return answer
