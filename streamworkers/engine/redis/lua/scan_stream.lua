-- Reads entries of a stream, waiting and pending, as others see them: those that are too large are cut.
-- KEYS: stream. ARGV: the id after which to begin, limit.
-- Returns {id, payload} for each. Bound: limit. One at a time: another program may have added large ones.
local rows, after = {}, ARGV[1]
while #rows < tonumber(ARGV[2]) do
    local entry = redis.call('XRANGE', KEYS[1], '(' .. after, '+', 'COUNT', 1)[1]
    if not entry then
        break
    end
    after = entry[1]
    rows[#rows + 1] = {after, payload_of(entry[2])}
end
return rows
