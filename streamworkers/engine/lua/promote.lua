-- Moves delayed entries whose time has come to the stream.
-- KEYS: delayed set, stream. ARGV: limit.
-- Returns {number moved, ms until the next one (-1 when there is none)}. Bound: limit.
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, ARGV[1])
for _, packed in ipairs(due) do
    redis.call('XADD', KEYS[2], '*', 'e', packed)
    redis.call('ZREM', KEYS[1], packed)
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if #first == 0 then
    return {#due, -1}
end
return {#due, math.max(0, tonumber(first[2]) - now_ms)}
