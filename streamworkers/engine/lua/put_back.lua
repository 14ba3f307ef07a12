-- Shared by hand_over.lua and reclaim.lua: takes a pending entry away from its consumer and puts it back into the
-- stream for anyone to take, in one step. Returns 1, or 0 when the entry had been deleted.
-- With a reason its worker may have died of it, so it shall run alone from now on; `charge` says whether it also
-- used up an attempt: 'yes', 'no', or 'if_alone', when it had been alone already. Without a reason it comes back as
-- it was.
-- Fields of an entry, from 1: version, run_id, seq, job, symbol, timeframe, enqueued_ms, attempt, alone, reason.
local function put_back(stream, group, id, reason, charge)
    local found = redis.call('XRANGE', stream, id, id)
    if #found == 1 then
        local packed = found[1][2][2]
        local ok, fields = pcall(cmsgpack.unpack, packed)
        if reason ~= '' and ok and type(fields) == 'table' and #fields == 10 and tonumber(fields[8]) then
            if charge == 'yes' or (charge == 'if_alone' and fields[9] == true) then
                fields[8] = fields[8] + 1
            end
            fields[9] = true
            fields[10] = reason
            packed = cmsgpack.pack(fields)
        end
        redis.call('XADD', stream, '*', 'e', packed)
        redis.call('XDEL', stream, id)
    end
    redis.call('XACK', stream, group, id)
    return #found
end
