-- Requeues the pending entries of one consumer. Those that its handler was executing when it died are suspects: they
-- become isolated, and pay as `charge` says (see requeue_entry.lua).
-- KEYS: stream. ARGV: group, consumer, reason, limit, charge, suspect, suspect, …
-- Returns the number requeued. Bound: limit.
local suspects = {}
for i = 6, #ARGV do
    suspects[ARGV[i]] = true
end
local now = now_ms()
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[4], ARGV[2])
for _, record in ipairs(pending) do
    requeue_entry(KEYS[1], ARGV[1], record[1], suspects[record[1]] and ARGV[3] or '', ARGV[5], now)
end
return #pending
