-- Gives a consumer, after a read, the entries next to its own that belong to the same key: those that nobody has read
-- yet, and those that another consumer has read but not begun. Of two who read parts of a key, the first to call this
-- gets all of it; the other finds that it has lost its part.
-- An entry has begun once its consumer has called this: XCLAIM raises its delivery count above 1.
-- KEYS: stream. ARGV: group, consumer, most entries to add at each end, first id read, last id read, number of ids read.
-- Returns the consumer's entries in the order of the stream, as XCLAIM does. Bound: what was read and the most to add.
local stream, group, consumer, most = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])

-- Run and key of an entry; nil for an isolated one, which runs on its own, and for a malformed one.
local function key_of(entry)
    local ok, fields = pcall(cmsgpack.unpack, entry[2][2])
    if ok and type(fields) == 'table' and #fields >= 10 and fields[9] == false then
        return tostring(fields[2]) .. ' ' .. tostring(fields[5])
    end
end

-- Returns the neighbours of an entry, nearest first, up to the first of another key or begun by another consumer; and how
-- many that nobody has read follow these.
local function neighbours_of(id, command, limit)
    local near = redis.call(command, stream, id, limit, 'COUNT', most + 1)
    local key, found, unread = near[1] and key_of(near[1]), {}, 0
    for i = 2, #near do
        if not key or key_of(near[i]) ~= key then
            break
        end
        local owned = redis.call('XPENDING', stream, group, near[i][1], near[i][1], 1)[1]
        if not owned then
            unread = unread + 1
        elseif owned[4] > 1 or unread > 0 then
            break
        else
            found[#found + 1] = near[i][1]
        end
    end
    return found, unread
end

local own = redis.call('XPENDING', stream, group, ARGV[4], ARGV[5], ARGV[6], consumer)
if #own == 0 then
    return {}
end
local before = neighbours_of(own[1][1], 'XREVRANGE', '-')
local after, unread = neighbours_of(own[#own][1], 'XRANGE', '+')
local ids = {}
for i = #before, 1, -1 do
    ids[#ids + 1] = before[i]
end
for _, record in ipairs(own) do
    ids[#ids + 1] = record[1]
end
for _, id in ipairs(after) do
    ids[#ids + 1] = id
end
if unread > 0 then
    local read = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', unread, 'STREAMS', stream, '>')
    for _, entry in ipairs(read and read[1][2] or {}) do
        ids[#ids + 1] = entry[1]
    end
end
local entries = {}
for _, entry in ipairs(redis.call('XCLAIM', stream, group, consumer, 0, unpack(ids))) do
    -- Redis 6.2 says nil for one that was deleted.
    entries[#entries + 1] = entry or nil
end
return entries
