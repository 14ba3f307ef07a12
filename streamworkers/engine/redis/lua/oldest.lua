-- Finds out when the oldest entry of a stream was added, without sending the entry itself.
-- KEYS: stream. ARGV: none.
-- Returns {its id, '' if there is none, seconds, microseconds of the clock}. Bound: one entry.
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local clock = redis.call('TIME')
return {oldest and oldest[1] or '', clock[1], clock[2]}
