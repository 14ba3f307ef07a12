-- Requeues entries whose lease expired. It is not known which of them was being executed.
-- JUSTID makes Redis 6.2, which reports deleted entries as nil, and 7.0, which leaves them out, look the same.
-- KEYS: stream. ARGV: group, own consumer name, lease in ms, cursor, limit, reason, charge (see requeue_entry.lua), and
-- the latest time in ms that the clock can show. If it shows a later one it has jumped, and every lease looks expired.
-- Returns {next cursor, number requeued, or -1 after a jump}. Bound: Redis examines ten times limit pending entries.
if redis.call('XPENDING', KEYS[1], ARGV[1])[1] == 0 then
    return {'0-0', 0}
end
if now_ms() > tonumber(ARGV[8]) then
    return {ARGV[4], -1}
end
local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5], 'JUSTID')
-- It may have been silent for a little longer: the reclaimer runs every few seconds.
local left_ms = #claimed[2] > 0 and now_ms() - tonumber(ARGV[3])
local count = 0
for _, id in ipairs(claimed[2]) do
    count = count + requeue_entry(KEYS[1], ARGV[1], id, ARGV[6], ARGV[7], left_ms)
end
-- Everything claimed was requeued, so this consumer owns nothing.
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return {claimed[1], count}
