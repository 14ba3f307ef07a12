-- Reserves one of the calls that a fleet may make in any window of time, and shares these between those who ask.
-- KEYS: calls (ZSET: token -> when it was over, or is over at the latest, in ms);
-- claims (ZSET: 'cost|share|token' of one that has to wait -> when its claim lapses, in ms);
-- turns (HASH: share -> the turn of its next call; '' -> the earliest turn of one that waits).
-- ARGV: 'reserve', token, limit, window ms, longest time of a call in ms, share, cost, time in ms that a claim holds a free
-- call once it is due | 'finished', token
-- Returns for 'reserve': {0, 0} if the call may be made, else {the ms to wait, 1 if a call is held for it then, else 0,
-- the name of each other share of the same cost that waits too, at most 50}.
-- Bound: the calls of one window, and the claims.
-- A call counts from its end, because only then is it certain when it arrived.
-- The next call belongs to the share with the earliest turn; each call of a share moves its turn on by its cost (start-time
-- fair queueing). A share that comes begins at the earliest turn of those who wait: it does not wait for what others had
-- before, and saves up nothing that it did not use. Who has to wait claims the call that becomes free then.
local most_of_share, most_claims = 50, 500
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if ARGV[1] == 'finished' then
    redis.call('ZADD', KEYS[1], 'XX', now, ARGV[2])
    return 0
end
local limit, window, longest = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local name, cost, hold = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local longest_wait = window + 1
-- A call that ends later than one begun now is from before the clock was set back: it ends now. So is a claim.
for _, token in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. (now + longest), '+inf')) do
    redis.call('ZADD', KEYS[1], 'XX', now, token)
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '(' .. (now + longest_wait + hold), '+inf')
-- Both times are cut to whole milliseconds: a whole window has passed only if they differ by more.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. (now - window))
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. now)
local free = limit - redis.call('ZCARD', KEYS[1])
local last_turn = tonumber(redis.call('HGET', KEYS[3], '') or 0)

local shares = {}
local function share_of(share, its_cost)
    if not shares[share] then
        local turn = math.max(last_turn, tonumber(redis.call('HGET', KEYS[3], share) or 0))
        shares[share] = {cost = its_cost, turn = turn, due = 0, later = 0, first = now}
    end
    return shares[share]
end

-- Earliest first, so the first claim of a share is its oldest.
local claims = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
for i = 1, #claims, 2 do
    local its_cost, share = string.match(claims[i], '^(%d+)|(.*)|')
    local found, due_at = share_of(share, tonumber(its_cost)), claims[i + 1] - hold
    found.claim = found.claim or claims[i]
    found.first = math.min(found.first, due_at)
    if due_at <= now then
        found.due = found.due + 1
    else
        found.later = found.later + 1
    end
end
local own = share_of(name, cost)

-- Returns which of the next calls, from 1, is the one of this share with that number, if the others claim as many as
-- `claimed` says; `most` + 1 if it is not among the first `most`.
local function place_of(number, claimed, most)
    local left, turns = {}, {}
    for share, found in pairs(shares) do
        left[share], turns[share] = claimed(found), found.turn
    end
    left[name] = number
    for place = 1, most do
        local best
        for share, found in pairs(shares) do
            if left[share] > 0 then
                local other = best and shares[best]
                local earlier = not best or turns[share] < turns[best]
                local alike = best and turns[share] == turns[best]
                if alike then
                    earlier = found.cost < other.cost
                        or (found.cost == other.cost and (found.first < other.first
                            or (found.first == other.first and share < best)))
                end
                best = earlier and share or best
            end
        end
        left[best], turns[best] = left[best] - 1, turns[best] + shares[best].cost
        if best == name and left[name] == 0 then
            return place
        end
    end
    return most + 1
end

-- Only a claim that is due holds a free call: for the others, others will be free.
local function count_due(found) return found.due end
if free > 0 and place_of(1, count_due, math.min(free, most_claims)) <= free then
    redis.call('ZADD', KEYS[1], now + longest, ARGV[2])
    -- Those who wait keep their turns; when nobody does, what was used is forgotten.
    local turn = #claims > 0 and own.turn or own.turn + cost
    for _, found in pairs(shares) do
        turn = math.min(turn, found == own and turn or found.turn)
    end
    redis.call('HSET', KEYS[3], '', turn, name, own.turn + cost)
    if own.claim then
        redis.call('ZREM', KEYS[2], own.claim)
    end
    local turns = redis.call('HGETALL', KEYS[3])
    if #turns > 2 * most_claims then
        for i = 1, #turns, 2 do
            if turns[i] ~= '' and tonumber(turns[i + 1]) <= turn then
                redis.call('HDEL', KEYS[3], turns[i])
            end
        end
    end
    redis.call('PEXPIRE', KEYS[1], window + longest + 1000)
    redis.call('PEXPIRE', KEYS[3], longest_wait + hold)
    return {0, 0}
end

-- One that comes back for what it claimed, in vain, claims the same again.
local number = math.min(own.due + own.later + 1, most_of_share, limit)
if own.due > 0 then
    number = 1
end
local place = place_of(number, function(found) return found.due + found.later end, most_claims)
-- Calls become free in the order in which they were over. One that has no place among the next ones tries again with them,
-- so that turns decide, not who asked first.
local index = math.max(0, math.min(place, limit) - free - 1)
local call = redis.call('ZRANGE', KEYS[1], index, index, 'WITHSCORES')
-- A call in progress may end at once, so waiting one window is always early enough.
local wait = call[2] and math.min(tonumber(call[2]) - now, 0) + window + 1 or math.min(window, hold)
wait = math.max(1, wait)
local holds = 1
if own.due > 0 then
    redis.call('ZADD', KEYS[2], 'XX', now + wait + hold, own.claim)
elseif own.later < math.min(most_of_share, limit) and #claims < 2 * most_claims then
    redis.call('ZADD', KEYS[2], now + wait + hold, cost .. '|' .. name .. '|' .. ARGV[2])
else
    holds = 0
end
redis.call('PEXPIRE', KEYS[2], longest_wait + hold)
local answer = {wait, holds}
for share, found in pairs(shares) do
    if share ~= name and found.cost == cost and #answer < 52 then
        answer[#answer + 1] = share
    end
end
return answer
