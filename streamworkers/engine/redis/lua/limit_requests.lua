-- Takes one of the requests that a name may make in a minute, or says when there will be one.
-- KEYS: when the name has its whole limit again (STRING with TTL, in µs).
-- ARGV: limit, window in µs.
-- Returns {1 if it was taken, else 0, how many are left, µs until all are there again, µs until there is one}.
-- Bound: one key. The arithmetic is that of request_limits.py, in whole µs, which a double holds exactly.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local limit = tonumber(ARGV[1])
local each = math.floor(tonumber(ARGV[2]) / limit)
local whole = each * limit
-- A moment further ahead than the whole limit is from before the clock was set back.
local full_at = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or now) or now, now), now + whole)
local taken = 0
if full_at + each - now <= whole then
    taken, full_at = 1, full_at + each
    redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000))
end
local used = full_at - now
return {taken, math.floor((whole - used) / each), used, math.max(0, used + each - whole)}
