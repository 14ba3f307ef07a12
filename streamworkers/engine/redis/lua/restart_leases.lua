-- Lets the leases of pending entries begin now, of all consumers: after Redis' clock was set back they would not expire
-- before the clock is where it was.
-- KEYS: stream. ARGV: group, first id, limit.
-- Returns the last id examined, or '' at the end. Bound: limit.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], '+', ARGV[3])
for _, record in ipairs(pending) do
    redis.call('XCLAIM', KEYS[1], ARGV[1], record[2], 0, record[1], 'JUSTID')
end
return #pending == tonumber(ARGV[3]) and pending[#pending][1] or ''
