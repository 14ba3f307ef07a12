-- Reserves one of the calls that a fleet may make in any window of time.
-- KEYS: calls (ZSET: token -> when it was over, or is over at the latest, in ms)
-- ARGV: 'reserve', token, limit, window ms, longest time of a call in ms | 'finished', token
-- Returns for 'reserve': 0 if the call may be made, else the ms to wait. Bound: the calls of one window.
-- A call counts from its end, because only then is it certain when it arrived.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if ARGV[1] == 'finished' then
    redis.call('ZADD', KEYS[1], 'XX', now, ARGV[2])
    return 0
end
local limit, window, longest = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
-- A call that ends later than one begun now is from before the clock was set back: it ends now.
for _, token in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. (now + longest), '+inf')) do
    redis.call('ZADD', KEYS[1], 'XX', now, token)
end
-- Both times are cut to whole milliseconds: a whole window has passed only if they differ by more.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. (now - window))
local count = redis.call('ZCARD', KEYS[1])
if count < limit then
    redis.call('ZADD', KEYS[1], now + longest, ARGV[2])
    redis.call('PEXPIRE', KEYS[1], window + longest + 1000)
    return 0
end
local free = redis.call('ZRANGE', KEYS[1], count - limit, count - limit, 'WITHSCORES')
-- A call in progress may end at once, so waiting one window is always early enough.
return math.max(1, math.min(tonumber(free[2]) - now, 0) + window + 1)
