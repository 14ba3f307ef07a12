-- Shared by requeue_consumer.lua and reclaim.lua: takes a pending entry away from its consumer and adds it to the end of
-- the stream, in one step.
-- KEYS: none of its own. ARGV: none of its own; the function takes stream, group, id, reason, charge, left_ms.
-- With a reason the entry becomes isolated, because its worker may have died of it. `charge` says whether it also used up
-- an attempt: 'yes', 'no', or 'if_isolated', which charges an entry that was isolated before. `left_ms` is when the worker
-- was last known to hold it. Without a reason, and if it is malformed, the entry stays as it is, but is cut if it is too large.
-- Fields of an entry, from 1: version, run_id, seq, job, symbol, timeframe, enqueued_ms, attempt, isolated, reason, and
-- from version 2 on left_ms and generation; later versions append.
-- Returns 1, or 0 if the entry had been deleted. Bound: one entry.
local function requeue_entry(stream, group, id, reason, charge, left_ms)
    -- A full Redis lets a script finish that has begun with writes which need no memory.
    redis.call('XACK', stream, group, id)
    local found = redis.call('XRANGE', stream, id, id)
    if #found == 1 then
        local packed = payload_of(found[1][2])
        local ok, fields = pcall(cmsgpack.unpack, packed)
        if reason ~= '' and ok and type(fields) == 'table' and #fields >= 10 and tonumber(fields[8]) then
            if charge == 'yes' or (charge == 'if_isolated' and fields[9] == true) then
                fields[8] = fields[8] + 1
            end
            fields[9] = true
            fields[10] = reason
            if fields[11] then
                fields[11] = left_ms
            end
            packed = cmsgpack.pack(fields)
        end
        redis.call('XDEL', stream, id)
        redis.call('XADD', stream, '*', 'e', packed)
    end
    return #found
end

local function now_ms()
    local clock = redis.call('TIME')
    return tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
end
