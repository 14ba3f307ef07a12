-- Reads new entries of the first of several streams that has any, or says which it is if they are many: what a script reads
-- is copied twice, which costs more for many entries than another round trip. Streams of paused queues are passed over.
-- KEYS: streams, in the order in which they are asked, then for each the flag of its queue. ARGV: group, consumer, most
-- entries of each stream.
-- Returns {number of the stream, entries}, {number of the stream}, or {0, number of each stream that was passed over}.
-- Bound: most_read entries.
local most_read = 32
local count = #KEYS / 2

local function has_new(stream)
    if redis.call('XLEN', stream) == 0 then
        return false
    end
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
        local of = {}
        for i = 1, #group, 2 do
            of[group[i]] = group[i + 1]
        end
        if of.name == ARGV[1] then
            return #redis.call('XRANGE', stream, '(' .. of['last-delivered-id'], '+', 'COUNT', 1) > 0
        end
    end
    return true  -- without the group: reading says so
end

local paused, answer = {}, {0}
for i = 1, count do
    local flag = KEYS[i + count]
    if paused[flag] == nil then
        paused[flag] = redis.call('EXISTS', flag) == 1
    end
    if paused[flag] then
        answer[#answer + 1] = i
    elseif tonumber(ARGV[i + 2]) > most_read then
        if has_new(KEYS[i]) then
            return {i}
        end
    else
        local read = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', ARGV[i + 2], 'STREAMS', KEYS[i], '>')
        if read then
            return {i, read[1][2]}
        end
    end
end
return answer
