-- Publishes a message unless it was published within a while.
-- KEYS: a key that stands for the message. ARGV: seconds, channel, text.
-- Returns 1, or 0 if it had been published. Bound: one SET and one PUBLISH.
-- A mark that lasts longer than one made now is from before the clock was set back.
if redis.call('PTTL', KEYS[1]) > 1000 * tonumber(ARGV[1]) then
    redis.call('DEL', KEYS[1])
end
if redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[1]) then
    redis.call('PUBLISH', ARGV[2], ARGV[3])
    return 1
end
return 0
