-- Reads entries of a delayed set: those that are too large are cut.
-- KEYS: delayed set. ARGV: cursor, about how many to read.
-- Returns {next cursor, entries}, as ZSCAN does. Bound: that of ZSCAN.
local answer = redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local entries = {}
for i = 1, #answer[2], 2 do
    entries[#entries + 1] = cut(answer[2][i])
end
return {answer[1], entries}
