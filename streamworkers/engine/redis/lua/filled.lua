-- Finds the streams that have entries, waiting or pending.
-- KEYS: streams. ARGV: none.
-- Returns their names. Bound: an entry of each stream is looked at.
local words = {'COUNT', 1, 'STREAMS'}
for i, stream in ipairs(KEYS) do
    words[i + 3], words[i + 3 + #KEYS] = stream, '0'
end
local names = {}
for _, found in ipairs(redis.call('XREAD', unpack(words)) or {}) do
    names[#names + 1] = found[1]
end
return names
