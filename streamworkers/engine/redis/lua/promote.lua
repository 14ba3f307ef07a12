-- Moves due entries from the delayed set to the stream, and cuts those that are too large.
-- KEYS: delayed set, stream. ARGV: limit.
-- Returns {number moved, ms until the next one (-1: there is none)}. Bound: limit.
local at_once = 10
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if #first == 0 then
    return {0, -1}
end
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
if tonumber(first[2]) > now_ms then
    return {0, tonumber(first[2]) - now_ms}
end
local count, limit = 0, tonumber(ARGV[1])
while count < limit do
    -- A few at a time: another program may have added large ones.
    local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, math.min(at_once, limit - count))
    for _, packed in ipairs(due) do
        -- In this order also in a full Redis: see requeue_entry.lua.
        redis.call('ZREM', KEYS[1], packed)
        redis.call('XADD', KEYS[2], '*', 'e', cut(packed))
    end
    count = count + #due
    if #due < at_once then
        break
    end
end
first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {count, #first == 0 and -1 or math.max(0, tonumber(first[2]) - now_ms)}
