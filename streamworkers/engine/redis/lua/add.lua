-- Adds entries of a run to a queue and counts them as open.
-- KEYS: stream, open items. ARGV: run id, entry, entry, …
-- Returns the number added. Bound: the caller sends at most 500 entries.
for i = 2, #ARGV do
    redis.call('XADD', KEYS[1], '*', 'e', ARGV[i])
end
redis.call('HINCRBY', KEYS[2], ARGV[1], #ARGV - 1)
return #ARGV - 1
