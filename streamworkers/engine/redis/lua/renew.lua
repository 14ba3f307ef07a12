-- Renews the leases of one consumer's entries. An entry whose lease has expired is not revived: it may be reclaimed at
-- any moment, and two owners are worse than a second execution.
-- KEYS: stream. ARGV: group, consumer, lease in ms, first id, limit.
-- Returns {number renewed, last id examined, or '' at the end}. Bound: limit.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[4], '+', ARGV[5], ARGV[2])
local ids = {}
for _, record in ipairs(pending) do
    if record[3] < tonumber(ARGV[3]) then
        ids[#ids + 1] = record[1]
    end
end
if #ids > 0 then
    ids[#ids + 1] = 'JUSTID'
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(ids))
    ids[#ids] = nil
end
local last = ''
if #pending == tonumber(ARGV[5]) then
    last = pending[#pending][1]
end
return {#ids, last}
