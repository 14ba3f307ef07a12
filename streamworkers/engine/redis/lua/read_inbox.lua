-- Reads entries of an inbox, which other programs write, one by one, so that a read is small however large they are: it
-- ends with as many entries as were asked for, or with as many bytes as one message may have. A longer message is cut.
-- KEYS: stream. ARGV: group, consumer, which (`new`, `own` for what this consumer has read and not finished, or a time in
-- ms to claim what others have held for longer), most entries, most bytes of a message, bytes that are left of a longer.
-- Returns {id, size of the field `message` or -1 without it, message} for each. Bound: most entries; all but the last
-- have together fewer bytes than a message may have.
local stream, group, consumer, which = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local most, most_bytes, left = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local pending = {}
if which == 'own' then
    pending = redis.call('XPENDING', stream, group, '-', '+', most, consumer)
elseif which ~= 'new' then
    pending = redis.call('XPENDING', stream, group, 'IDLE', which, '-', '+', most)
end

-- Returns the entry at a place of the reading: nothing at its end, false for one that is gone.
local function entry_at(place)
    if which == 'new' then
        local read = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', stream, '>')
        return read and read[1][2][1] or nil
    end
    local id = pending[place] and pending[place][1]
    if which == 'own' then
        return id and (redis.call('XRANGE', stream, id, id)[1] or {id, {}})
    elseif id then
        id = redis.call('XAUTOCLAIM', stream, group, consumer, which, id, 'COUNT', 1, 'JUSTID')[2][1]
        return id and redis.call('XRANGE', stream, id, id)[1] or false
    end
end

local found, total = {}, 0
for place = 1, most do
    local entry = entry_at(place)
    if entry == nil then
        break
    end
    if entry then
        local message
        for i = 1, #entry[2], 2 do
            message = entry[2][i] == 'message' and entry[2][i + 1] or message
        end
        local size = message and #message or -1
        found[#found + 1] = {entry[1], size, size > most_bytes and string.sub(message, 1, left) or message or ''}
        total = total + math.max(size, 0)
        if total >= most_bytes then
            break
        end
    end
end
return found
