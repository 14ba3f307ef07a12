-- Books the earliest times at which calls are allowed by all limits that they count against.
-- KEYS: for each bucket its book (ZSET: token -> time of its call in ms; '>' and token -> when that call began, while it
-- is under way), then for each its hold (STRING: ms until which nothing is allowed).
-- ARGV: 'book', 'plan' or 'begin', how far ahead it books in ms, for how long a call may be under way in ms,
-- JSON [[token, grace ms, [[bucket from 1, calls, window ms, 1 if it is a gap], ...], name that its call counts under], ...]
-- | 'move', token, ms ago, ms to keep it: the call was under way until then | 'release', token: it was not made | 'hold', ms.
-- Returns for the first three: now, then for each request its time in ms, and 1 if it is booked, 0 if it is too far ahead.
-- 'plan' books for this answer only, and writes nothing. Bound: the calls of one window and of the time that it books ahead.
-- A token has one time in all its buckets. It keeps it until `grace` after it, unless a hold has moved the bucket; later,
-- it is booked like a new one, at now or in the next gap. At most `calls` fall into any window, two calls being of one
-- window if they are less than its length apart. Calls end later than was booked: 'begin' looks at its windows again, with
-- what is under way counted as of now, since nobody knows when it arrives; a time that is now is then that of a call. A
-- call that comes late for its slot begins at once if its windows have room, as they mostly do: its place would be lost.
-- With a name, 'begin' counts a call from its begin, under that name, and it is never under way: the token is free again.
local ASK_AGAIN_MS = 50
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local buckets = #KEYS / 2

if ARGV[1] == 'move' then
    for bucket = 1, buckets do
        redis.call('ZREM', KEYS[bucket], '>' .. ARGV[2])
        redis.call('ZADD', KEYS[bucket], 'GT', now - ARGV[3], ARGV[2])
        if redis.call('PTTL', KEYS[bucket]) < tonumber(ARGV[4]) then
            redis.call('PEXPIRE', KEYS[bucket], ARGV[4])
        end
    end
    return 0
end
if ARGV[1] == 'release' then
    for bucket = 1, buckets do
        redis.call('ZREM', KEYS[bucket], ARGV[2], '>' .. ARGV[2])
    end
    return 0
end
if ARGV[1] == 'hold' then
    for bucket = 1, buckets do
        if now + ARGV[2] > tonumber(redis.call('GET', KEYS[buckets + bucket]) or 0) then
            redis.call('SET', KEYS[buckets + bucket], string.format('%d', now + ARGV[2]), 'PX', ARGV[2])
        end
    end
    return 0
end

local begins = ARGV[1] == 'begin'
local writes = begins or ARGV[1] == 'book'
local ahead, life, requests = tonumber(ARGV[2]), tonumber(ARGV[3]), cjson.decode(ARGV[4])
local longest = {}
for _, request in ipairs(requests) do
    for _, limit in ipairs(request[3]) do
        longest[limit[1]] = math.max(longest[limit[1]] or life, limit[3] + request[2])
    end
end

-- A book as it is read: its times in order, the time of each token, and until when it is held.
local books = {}
local function open_book(bucket)
    if not books[bucket] then
        local key, from = KEYS[bucket], '(' .. (now - longest[bucket])
        if writes then
            redis.call('ZREMRANGEBYSCORE', key, '-inf', now - longest[bucket])
        end
        local times, of_token, under_way = {}, {}, {}
        local found = redis.call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES')
        for i = 1, #found, 2 do
            local at = tonumber(found[i + 1])
            if string.sub(found[i], 1, 1) ~= '>' then
                times[#times + 1] = at
                of_token[found[i]] = at
            elseif at > now - life then
                under_way[#under_way + 1] = string.sub(found[i], 2)
            end
        end
        local held = tonumber(redis.call('GET', KEYS[buckets + bucket]) or 0)
        books[bucket] = {times = times, of_token = of_token, under_way = under_way, held = held, first_free = {}}
    end
    return books[bucket]
end

-- Returns the first place of a time that is greater than `at`.
local function place_after(times, at)
    local low, high = 1, #times + 1
    while low < high do
        local middle = math.floor((low + high) / 2)
        if times[middle] > at then
            high = middle
        else
            low = middle + 1
        end
    end
    return low
end

-- Returns the earliest time from `at` that makes no window with more than `calls`. `calls` booked times within a window
-- forbid what lies less than a window from both ends; what they forbid begins and ends later from place to place.
local function next_free(times, calls, window, at)
    for place = place_after(times, at - window), #times - calls + 1 do
        local first, last = times[place], times[place + calls - 1]
        if last - window >= at then
            break
        end
        if last - first < window and at < first + window then
            at = first + window
        end
    end
    return at
end

local function find_time(limits, from)
    local at, before = from, nil
    for _, limit in ipairs(limits) do
        local book = open_book(limit[1])
        -- Within one call of this script times are only added, so what was too far ahead for one is so for the next.
        at = math.max(at, book.held, book.first_free[limit[2] .. '/' .. limit[3]] or 0)
    end
    if at > now + ahead then
        return at
    end
    repeat
        before = at
        for _, limit in ipairs(limits) do
            at = next_free(open_book(limit[1]).times, limit[2], limit[3], at)
        end
    until at == before
    return at
end

local function remember_full(limits)
    for _, limit in ipairs(limits) do
        local book = open_book(limit[1])
        local free = next_free(book.times, limit[2], limit[3], now)
        if free > now + ahead then
            book.first_free[limit[2] .. '/' .. limit[3]] = free
        end
    end
end

local function kept_time(token, grace, limits)
    local at = nil
    for _, limit in ipairs(limits) do
        local book = open_book(limit[1])
        local its = book.of_token[token]
        if not its or (at and its ~= at) or its < now - grace or its < book.held then
            return nil
        end
        at = its
    end
    return at
end

-- Returns whether a call that begins now, in its slot or a moment after it, keeps every window.
local function may_begin(token, at, limits)
    for _, limit in ipairs(limits) do
        local book, window = open_book(limit[1]), limit[3]
        if limit[4] ~= 1 then
            local count = place_after(book.times, at) - place_after(book.times, at - window)
            local own = book.of_token[token]
            if own and own <= at and own > at - window then
                count = count - 1
            end
            for _, other in ipairs(book.under_way) do
                local began = book.of_token[other]
                if other ~= token and not (began and began > at - window) then
                    count = count + 1
                end
            end
            if count >= limit[2] then
                return false
            end
        end
    end
    return true
end

local function forget(token, limits)
    for _, limit in ipairs(limits) do
        local book = open_book(limit[1])
        local at = book.of_token[token]
        if at then
            table.remove(book.times, place_after(book.times, at) - 1)
            book.of_token[token], book.first_free = nil, {}
            if writes then
                redis.call('ZREM', KEYS[limit[1]], token)
            end
        end
    end
end

local function enter(token, limits, at)
    for _, limit in ipairs(limits) do
        local key, book = KEYS[limit[1]], open_book(limit[1])
        if not book.of_token[token] then
            table.insert(book.times, place_after(book.times, at), at)
            book.of_token[token] = at
        end
        if writes then
            redis.call('ZADD', key, at, token)
            local lives = at - now + limit[3] + 1000
            if redis.call('PTTL', key) < lives then
                redis.call('PEXPIRE', key, lives)
            end
        end
    end
end

local function begin(token, limits)
    for _, limit in ipairs(limits) do
        redis.call('ZADD', KEYS[limit[1]], now, '>' .. token)
        if redis.call('PTTL', KEYS[limit[1]]) < life then
            redis.call('PEXPIRE', KEYS[limit[1]], life)
        end
    end
end

local function rename(token, name, limits, at)
    for _, limit in ipairs(limits) do
        local key, book = KEYS[limit[1]], books[limit[1]]
        -- In this order: a set that was empty for a moment would have lost its TTL.
        redis.call('ZADD', key, at, name)
        redis.call('ZREM', key, token)
        book.of_token[token], book.of_token[name] = nil, at
    end
end

-- Returns whether a call whose slot is over may begin now in its place: those behind it move if they have to.
local function may_begin_late(token, limits)
    for _, limit in ipairs(limits) do
        local book = open_book(limit[1])
        if not book.of_token[token] or book.held > now then
            return false
        end
    end
    return may_begin(token, now, limits)
end

local answer = {now}
for _, request in ipairs(requests) do
    local token, grace, limits = request[1], request[2], request[3]
    local at = kept_time(token, grace, limits)
    if begins and at and at <= now and not may_begin(token, at, limits) then
        at = nil
    end
    local booked = at ~= nil
    if not booked then
        local is_late = begins and may_begin_late(token, limits)
        forget(token, limits)
        at = is_late and now or find_time(limits, now)
        if begins and at == now and not may_begin(token, at, limits) then
            at = find_time(limits, now + ASK_AGAIN_MS)
        end
        booked = at <= now + ahead
        if booked then
            enter(token, limits, at)
        else
            remember_full(limits)
        end
    end
    if begins and booked and at <= now then
        if request[4] then
            rename(token, request[4], limits, at)
        else
            begin(token, limits)
        end
    end
    answer[#answer + 1] = at
    answer[#answer + 1] = booked and 1 or 0
end
return answer
