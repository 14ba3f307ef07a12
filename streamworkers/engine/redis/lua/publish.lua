-- Publishes messages, in a full Redis, too; a replica, which would reach few subscribers, rejects the write before them.
-- A transaction would do the same, but a full Redis 6.2 rejects every transaction.
-- KEYS: a key that does not exist. ARGV: channel, text, channel, text, …
-- Returns the number of messages. Bound: the caller sends at most 500 messages.
redis.call('DEL', KEYS[1])
for i = 1, #ARGV, 2 do
    redis.call('PUBLISH', ARGV[i], ARGV[i + 1])
end
return #ARGV / 2
