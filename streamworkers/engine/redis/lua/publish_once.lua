-- Publishes a message unless it was published within a while.
-- KEYS: 1 a key that stands for the message
-- ARGV: 1 seconds, 2 channel, 3 text
-- Returns 1, or 0 when it had been published. One SET and one PUBLISH.
if redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[1]) then
    redis.call('PUBLISH', ARGV[2], ARGV[3])
    return 1
end
return 0
