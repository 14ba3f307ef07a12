-- Requeues the pending entries of one consumer. Those that its handler was executing when it died are suspects: a single
-- one pays an attempt; of several any may be to blame, so each becomes isolated and pays nothing.
-- KEYS: stream. ARGV: group, consumer, reason, limit, suspect, suspect, …
-- Returns the number requeued. Bound: limit.
local charge = #ARGV == 5 and 'yes' or 'no'
local suspects = {}
for i = 5, #ARGV do
    suspects[ARGV[i]] = true
end
local now = now_ms()
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[4], ARGV[2])
for _, record in ipairs(pending) do
    requeue_entry(KEYS[1], ARGV[1], record[1], suspects[record[1]] and ARGV[3] or '', charge, now)
end
return #pending
