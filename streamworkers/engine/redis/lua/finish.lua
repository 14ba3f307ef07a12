-- Removes entries that this consumer still owns: done ones for good, others into the delayed set.
-- An entry that was requeued meanwhile is not touched, so that a late report changes nothing.
-- KEYS: stream, delayed set, open items.
-- ARGV: group, consumer, run id, number of done ids, the ids, then (id, delay in ms, new entry) for each to retry.
-- Returns {done, delayed, open items left of the run (nil when unknown)}. Bound: one batch.
local group, consumer, run, done_count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

-- A consumer holds one batch, so one call returns all it owns; if it owns more, the rest is asked for one by one.
local most = 1000
local pending = redis.call('XPENDING', KEYS[1], group, '-', '+', most, consumer)
local known = {}
for _, record in ipairs(pending) do
    known[record[1]] = true
end
local function owned(id)
    return known[id] or (#pending == most and #redis.call('XPENDING', KEYS[1], group, id, id, 1, consumer) == 1)
end

local ours = {}
for i = 5, 4 + done_count do
    if owned(ARGV[i]) then
        ours[#ours + 1] = ARGV[i]
    end
end
if #ours > 0 then
    redis.call('XACK', KEYS[1], group, unpack(ours))
    redis.call('XDEL', KEYS[1], unpack(ours))
end

local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local delayed = 0
for i = 5 + done_count, #ARGV, 3 do
    if owned(ARGV[i]) then
        redis.call('XACK', KEYS[1], group, ARGV[i])
        redis.call('XDEL', KEYS[1], ARGV[i])
        redis.call('ZADD', KEYS[2], now_ms + tonumber(ARGV[i + 1]), ARGV[i + 2])
        delayed = delayed + 1
    end
end

local left = redis.call('HGET', KEYS[3], run)
if left and #ours > 0 then
    left = redis.call('HINCRBY', KEYS[3], run, -#ours)
end
return {#ours, delayed, left and tonumber(left) or false}
