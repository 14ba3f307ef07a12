-- Adds entries of runs to a queue and counts them as open.
-- KEYS: stream, open items. ARGV: for each run its id, the number of its entries, and these.
-- Returns the number added. Bound: the caller sends at most 500 entries, or one run of up to 1000.
local at, total = 1, 0
while at < #ARGV do
    local count = tonumber(ARGV[at + 1])
    for i = at + 2, at + 1 + count do
        redis.call('XADD', KEYS[1], '*', 'e', ARGV[i])
    end
    if type(redis.pcall('HINCRBY', KEYS[2], ARGV[at], count)) == 'table' then
        -- What another program wrote is no count. The entries are there: an error now would let them be added again.
        redis.call('HDEL', KEYS[2], ARGV[at])
    end
    at, total = at + 2 + count, total + count
end
return total
