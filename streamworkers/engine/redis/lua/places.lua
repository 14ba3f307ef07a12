-- Takes, gives back and hands on the places of limits.
-- KEYS: for each bucket its places (ZSET: holder -> when its place lapses, in ms) and its line (ZSET: member of an item that
-- waits -> when it was enqueued, in ms); then for each queue its delayed set and its stream.
-- ARGV: verb, consumer, ms after which a place that is taken now lapses, ms for which a place is kept for an item that was
-- woken, ms that a line lives, JSON {places: [of each bucket], queues: [names], leaving: [[token, [bucket from 1, ...]], ...],
-- items: [[token, enqueued ms, [bucket, ...]], ...]}, then for each item its member: token, queue, line end, packed entry.
-- 'take': gives back the places of `leaving`, then gives each item, in their order, a place in all of its buckets, or in none.
--   Returns for each item {0, 0}, or {bucket without a place for it, number of those who come before it there}.
-- 'wait': lines each item up in its bucket, after its entry was delayed. 'leave': gives back the places of each item of the
--   consumer, and what was kept for it. 'keep': takes the places of each item of the consumer again if they are lost.
--   Return the number of places that were taken.
-- All of them then wake as many as there are free places: the entry moves from the delayed set to the stream, and a place is
-- kept for it. Bound: the items, and those that are woken.
-- A token is 29 digits, so that of items of one moment those of an earlier run and with a lower number come first. A holder is
-- token and consumer, or for an item that was woken the token. The line only says who is next: an item of it that is not in the
-- delayed set is on its way already, and is left out.
local token_length, most_stale = 29, 200
local verb, consumer, life, keeps, line_life = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local given = cjson.decode(ARGV[6])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local count = #given.places
local number_of = {}
for number, name in ipairs(given.queues) do
    number_of[name] = number
end

local function places_of(bucket) return KEYS[2 * bucket - 1] end
local function line_of(bucket) return KEYS[2 * bucket] end
local function free_in(bucket) return given.places[bucket] - redis.call('ZCARD', places_of(bucket)) end

local function outlast(key, ms)
    if redis.call('PTTL', key) < ms then
        redis.call('PEXPIRE', key, ms)
    end
end

local function hold(bucket, holder, ms)
    redis.call('ZADD', places_of(bucket), now + ms, holder)
    outlast(places_of(bucket), ms + 1000)
end

-- Returns the first of a line that waits for its time, with the keys of its queue; those before it are left out.
local function first_of(bucket)
    for _ = 1, most_stale do
        local member = redis.call('ZRANGE', line_of(bucket), 0, 0)[1]
        if not member then
            return nil
        end
        local line_end = string.find(member, '\n', token_length, true)
        local number = line_end and number_of[string.sub(member, token_length + 1, line_end - 1)]
        local packed = line_end and string.sub(member, line_end + 1)
        local first_key = number and 2 * count + 2 * number - 1
        if first_key and redis.call('ZSCORE', KEYS[first_key], packed) then
            return member, packed, KEYS[first_key], KEYS[first_key + 1]
        end
        redis.call('ZREM', line_of(bucket), member)
    end
end

local function wake(bucket)
    local free = free_in(bucket)
    while free > 0 do
        local member, packed, delayed, stream = first_of(bucket)
        if not member then
            return
        end
        -- In this order also in a full Redis: see requeue_entry.lua.
        redis.call('ZREM', line_of(bucket), member)
        redis.call('ZREM', delayed, packed)
        redis.call('XADD', stream, '*', 'e', packed)
        hold(bucket, string.sub(member, 1, token_length), keeps)
        free = free - 1
    end
end

local function leave(token, buckets)
    for _, bucket in ipairs(buckets) do
        redis.call('ZREM', places_of(bucket), token, token .. consumer)
    end
end

local function holds(bucket, token)
    return redis.call('ZSCORE', places_of(bucket), token .. consumer) or redis.call('ZSCORE', places_of(bucket), token)
end

local function count_before(bucket, member, since)
    local is_new = redis.call('ZADD', line_of(bucket), 'NX', since, member) == 1
    local before = redis.call('ZRANK', line_of(bucket), member)
    if is_new then
        redis.call('ZREM', line_of(bucket), member)
    end
    return before
end

-- Returns the first bucket that has no place for an item, or 0, and how many come before it there.
local function find_full(token, since, buckets, member)
    for _, bucket in ipairs(buckets) do
        if not holds(bucket, token) then
            local before = count_before(bucket, member, since)
            if before >= free_in(bucket) then
                return bucket, before
            end
        end
    end
    return 0, 0
end

local function take(token, buckets, member)
    for _, bucket in ipairs(buckets) do
        redis.call('ZREM', places_of(bucket), token)
        redis.call('ZREM', line_of(bucket), member)
        hold(bucket, token .. consumer, life)
    end
end

for bucket = 1, count do
    redis.call('ZREMRANGEBYSCORE', places_of(bucket), '-inf', now)
end
for _, each in ipairs(given.leaving) do
    leave(each[1], each[2])
end
local answer, taken = {}, 0
if verb == 'take' then
    for bucket = 1, count do
        first_of(bucket)
    end
end
for i, item in ipairs(given.items) do
    local token, since, buckets, member = item[1], item[2], item[3], ARGV[6 + i]
    if verb == 'take' then
        local full, before = find_full(token, since, buckets, member)
        if full == 0 then
            take(token, buckets, member)
        else
            -- What was kept for it elsewhere is others'.
            for _, bucket in ipairs(buckets) do
                redis.call('ZREM', places_of(bucket), token)
            end
        end
        answer[i] = {full, before}
    elseif verb == 'wait' then
        for _, bucket in ipairs(buckets) do
            redis.call('ZADD', line_of(bucket), since, member)
            outlast(line_of(bucket), line_life)
        end
    elseif verb == 'leave' then
        leave(token, buckets)
        for _, bucket in ipairs(buckets) do
            redis.call('ZREM', line_of(bucket), member)
        end
    else
        for _, bucket in ipairs(buckets) do
            if not redis.call('ZSCORE', places_of(bucket), token .. consumer) then
                hold(bucket, token .. consumer, life)
                taken = taken + 1
            end
        end
    end
end
for bucket = 1, count do
    wake(bucket)
end
return verb == 'take' and answer or taken
