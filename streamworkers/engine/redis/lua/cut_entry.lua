-- Shared by all scripts that move entries or show them: one that is far too large, so that workers would have to read it
-- only to reject it, becomes a short one that says so.
-- KEYS: none of its own. ARGV: none of its own; the functions take the fields of an entry, or its payload.
-- Returns the payload, or the byte 193, which msgpack never uses, its size and its beginning: unpack_entry of entry.py
-- knows this form.
-- Bound: one entry.
local most_bytes, shown_bytes = 1048576, 1000

local function cut(packed)
    if #packed <= most_bytes then
        return packed
    end
    return string.char(193) .. #packed .. '\n' .. string.sub(packed, 1, shown_bytes)
end

-- The fields of a malformed entry become one payload: there may be more of them than a call takes arguments.
local function payload_of(content)
    return cut((#content == 2 and content[1] == 'e') and content[2] or cmsgpack.pack(content))
end
