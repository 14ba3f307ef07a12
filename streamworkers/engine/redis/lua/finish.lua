-- Removes entries that are still pending: done ones for good, others into the delayed set.
-- The id of an entry proves who owns it: a requeue gives it a new one. So XACK, which does not count an id that is not
-- pending any more, tells a late report from a timely one, and nobody has to read what the consumer owns.
-- KEYS: stream, delayed set, open items.
-- ARGV: group; the first id of a delivery and the id after its last one, if this call finishes all of it, else '' and '';
-- then for each run: run id, number of done ids, number of entries to delay, the done ids, and for each to delay (id, delay
-- in ms, new entry).
-- Returns for each run {done, delayed, open items left (nil when unknown)}. Bound: one delivery.
local stream, group, first_id, end_id = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local most = 4000  -- unpack takes less than 8000

local function acknowledge(from, to)
    local count = 0
    for start = from, to, most do
        count = count + redis.call('XACK', stream, group, unpack(ARGV, start, math.min(start + most - 1, to)))
    end
    return count
end

local function delete(from, to)
    local count = 0
    for start = from, to, most do
        count = count + redis.call('XDEL', stream, unpack(ARGV, start, math.min(start + most - 1, to)))
    end
    return count
end

local runs, are_all_ours, at = {}, first_id ~= '', 4
while at <= #ARGV do
    local run = {id = ARGV[at], first = at + 3, last = at + 2 + ARGV[at + 1], delayed = {}}
    run.done = acknowledge(run.first, run.last)
    are_all_ours = are_all_ours and run.done == tonumber(ARGV[at + 1])
    at = run.last + 1
    for _ = 1, ARGV[run.first - 1] do
        if acknowledge(at, at) == 1 then
            run.delayed[#run.delayed + 1] = at
        else
            are_all_ours = false
        end
        at = at + 3
    end
    runs[#runs + 1] = run
end

-- A delivery is a gapless piece of the stream. When nothing older is left, cutting it off costs a tenth of deleting its
-- entries one by one.
local oldest = are_all_ours and redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
local is_cut_off = oldest and oldest[1] == first_id
if is_cut_off then
    redis.call('XTRIM', stream, 'MINID', end_id)
end

local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local answers = {}
for _, run in ipairs(runs) do
    if not is_cut_off then
        -- Of a group that was lost nothing is pending, but these entries are done, and count.
        run.done = math.max(run.done, delete(run.first, run.last))
    end
    for _, i in ipairs(run.delayed) do
        if not is_cut_off then
            delete(i, i)
        end
        redis.call('ZADD', KEYS[2], now_ms + tonumber(ARGV[i + 1]), ARGV[i + 2])
    end
    local left = redis.call('HGET', KEYS[3], run.id)
    if left and run.done > 0 then
        left = redis.pcall('HINCRBY', KEYS[3], run.id, -run.done)
        if type(left) == 'table' then
            -- What another program wrote is no count; without one the reconciler counts.
            redis.call('HDEL', KEYS[3], run.id)
            left = false
        end
    end
    answers[#answers + 1] = {run.done, #run.delayed, left and tonumber(left) or false}
end
return answers
