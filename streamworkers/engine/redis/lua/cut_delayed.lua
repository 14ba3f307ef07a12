-- Cuts entries of a delayed set that are too large, in their places.
-- KEYS: delayed set. ARGV: cursor, about how many to look at.
-- Returns the next cursor, '0' at the end. Bound: that of ZSCAN.
local answer = redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
for i = 1, #answer[2], 2 do
    local short = cut(answer[2][i])
    if #short < #answer[2][i] then
        redis.call('ZREM', KEYS[1], answer[2][i])
        redis.call('ZADD', KEYS[1], answer[2][i + 1], short)
    end
end
return answer[1]
