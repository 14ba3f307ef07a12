-- Shared by requeue_consumer.lua and reclaim.lua: takes a pending entry away from its consumer and puts it back into the
-- stream for anyone to take, in one step. Returns 1, or 0 when the entry had been deleted.
-- With a reason its worker may have died of it, so it shall run alone from now on; `charge` says whether it also
-- used up an attempt: 'yes', 'no', or 'if_isolated', when it had been alone already; `left_ms` is when the worker was last
-- known to have it. Without a reason, and when it is no entry of ours, it comes back as it was.
-- Fields of an entry, from 1: version, run_id, seq, job, symbol, timeframe, enqueued_ms, attempt, isolated, reason, and
-- from version 2 on left_ms and generation; later versions append.
local function requeue_entry(stream, group, id, reason, charge, left_ms)
    local found = redis.call('XRANGE', stream, id, id)
    if #found == 1 then
        local content = found[1][2]
        -- A stranger's fields become one payload: there may be more of them than a call takes words.
        local packed = (#content == 2 and content[1] == 'e') and content[2] or cmsgpack.pack(content)
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
        redis.call('XADD', stream, '*', 'e', packed)
        redis.call('XDEL', stream, id)
    end
    redis.call('XACK', stream, group, id)
    return #found
end

local function now_ms()
    local clock = redis.call('TIME')
    return tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
end
