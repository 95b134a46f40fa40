//! The Lua scripts that change and read the queue. Each runs atomically in Redis, and its caller
//! limits the work that it does.
//!
//! KEYS of every script: rows (by time), payloads, state, held (writes by their time), offsets
//! (rows by partition and offset). A row is named `id|offset|number|topic` in rows and
//! `number|topic|offset|id` in offsets.

use std::sync::LazyLock;

use redis::Script;

/// ARGV: partition, fill, start, tab. Removes everything that is stored for another tab, with all
/// its partitions, because the offsets that are done for that tab may not be done for this one.
pub(super) static START_FILL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('HGET', KEYS[3], 'tab') ~= ARGV[4] then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
  redis.call('HSET', KEYS[3], 'tab', ARGV[4])
end
local p = ARGV[1]
for _, place in ipairs(redis.call('ZRANGEBYLEX', KEYS[5], '[' .. p .. '|', '(' .. p .. '}')) do
  local offset, id = string.match(string.sub(place, #p + 2), '^(%d+)|(.*)$')
  local member = id .. '|' .. offset .. '|' .. p
  redis.call('ZREM', KEYS[5], place)
  redis.call('ZREM', KEYS[1], member)
  redis.call('HDEL', KEYS[2], member)
  redis.call('HINCRBY', KEYS[3], 'count', -1)
end
redis.call('HDEL', KEYS[3], 'due:' .. p, 'low:' .. p, 'full')
redis.call('HSET', KEYS[3], 'fill:' .. p, ARGV[2], 'start:' .. p, ARGV[3], 'next:' .. p, ARGV[3])
return 1",
    )
});

/// ARGV: partition, fill, expected next, next, due, limit of rows, now in milliseconds; then time,
/// member, place and payload of each row. A repeated write finds `next` where the first one has set
/// it.
pub(super) static WRITE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local p = ARGV[1]
local fill, at = unpack(redis.call('HMGET', KEYS[3], 'fill:' .. p, 'next:' .. p))
if fill ~= ARGV[2] then return {'lost'} end
if at ~= ARGV[4] then
  if at ~= ARGV[3] then return {'lost'} end
  local rows = (#ARGV - 7) / 4
  local count = tonumber(redis.call('HGET', KEYS[3], 'count') or '0')
  if rows > 0 and count + rows > tonumber(ARGV[6]) then
    redis.call('HSET', KEYS[3], 'full', 1)
    return {'full'}
  end
  local latest
  for i = 8, #ARGV, 4 do
    if redis.call('ZADD', KEYS[1], 'NX', ARGV[i], ARGV[i + 1]) == 1 then
      redis.call('ZADD', KEYS[5], 0, ARGV[i + 2])
      redis.call('HSET', KEYS[2], ARGV[i + 1], ARGV[i + 3])
      redis.call('HINCRBY', KEYS[3], 'count', 1)
    end
    if not latest or tonumber(ARGV[i]) > tonumber(latest) then latest = ARGV[i] end
  end
  if latest then redis.call('ZADD', KEYS[4], 'NX', ARGV[7], latest) end
  redis.call('HSET', KEYS[3], 'next:' .. p, ARGV[4])
end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[3], 'due:' .. p, ARGV[5]) end
local count, low = unpack(redis.call('HMGET', KEYS[3], 'count', 'low:' .. p))
return {'done', count or '0', low or ''}",
    )
});

/// ARGV: rows that arrived before this time, in milliseconds, were held back long enough; the most
/// rows to return by time; the most rows to return by offset, over all partitions. If the number of
/// rows is inconsistent, keys were lost (evicted or deleted): the script removes all of them, and
/// the next write detects that.
/// Returns the state, the rows with their times, and each partition with its rows by offset and
/// whether these are all of its rows.
pub(super) static SNAPSHOT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local count = tonumber(redis.call('HGET', KEYS[3], 'count') or '0')
if count ~= redis.call('ZCARD', KEYS[1]) or count ~= redis.call('HLEN', KEYS[2]) or count ~= redis.call('ZCARD', KEYS[5]) then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
  return false
end
local held = redis.call('HGET', KEYS[3], 'held')
for _, time in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', ARGV[1])) do
  if not held or tonumber(time) > tonumber(held) then held = time end
end
if held and redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', ARGV[1]) > 0 then
  redis.call('HSET', KEYS[3], 'held', held)
end
local state, partitions = redis.call('HGETALL', KEYS[3]), {}
for i = 1, #state, 2 do
  if string.sub(state[i], 1, 5) == 'fill:' then partitions[#partitions + 1] = string.sub(state[i], 6) end
end
local most, places = math.max(1, math.floor(ARGV[3] / math.max(1, #partitions))), {}
for i, p in ipairs(partitions) do
  local some = redis.call('ZRANGEBYLEX', KEYS[5], '[' .. p .. '|', '(' .. p .. '}', 'LIMIT', 0, most)
  places[i] = {p, #some < most and 1 or 0, some}
end
return {state, redis.call('ZRANGE', KEYS[1], 0, ARGV[2] - 1, 'WITHSCORES'), places}",
    )
});

/// ARGV: the most bytes to return, but at least one row; members. Rows that were removed meanwhile
/// are returned as empty strings.
pub(super) static FETCH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local found, bytes = {}, 0
for i = 2, #ARGV do
  local payload = redis.call('HGET', KEYS[2], ARGV[i]) or ''
  if bytes > 0 and bytes + #payload > tonumber(ARGV[1]) then break end
  bytes = bytes + #payload
  found[#found + 1] = payload
end
return found",
    )
});

/// ARGV: limit of rows, tab, number of partitions, then each with its low; then member and place of
/// each row. Rows that wait for another tab than the one to which they were written stay. A Redis
/// without free memory rejects a script whose first change needs memory, but not one that frees
/// memory first, so rows are removed first.
pub(super) static REMOVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('HGET', KEYS[3], 'tab') ~= ARGV[2] then return 0 end
local lows = 3 + 2 * tonumber(ARGV[3])
for i = lows + 1, #ARGV, 2 do
  if redis.call('ZREM', KEYS[1], ARGV[i]) == 1 then
    redis.call('ZREM', KEYS[5], ARGV[i + 1])
    redis.call('HDEL', KEYS[2], ARGV[i])
    redis.call('HINCRBY', KEYS[3], 'count', -1)
  end
end
if tonumber(redis.call('HGET', KEYS[3], 'count') or '0') <= ARGV[1] / 2 then redis.call('HDEL', KEYS[3], 'full') end
for i = 4, lows, 2 do redis.call('HSET', KEYS[3], 'low:' .. ARGV[i], ARGV[i + 1]) end
return 1",
    )
});

/// ARGV: tab, empty if there is none. The next write of the session that fills the queue detects
/// that the queue is gone, and the session starts again.
pub(super) static CLEAR: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if (redis.call('HGET', KEYS[3], 'tab') or '') == ARGV[1] then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
end
return 1",
    )
});
