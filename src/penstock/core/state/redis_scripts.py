"""What the state asks its server to do in one go, in Lua."""

REPLACE = """
local old = redis.call('HGET', KEYS[1], ARGV[1])
local new = redis.call('HGET', KEYS[1], ARGV[2])
redis.call('HDEL', KEYS[1], ARGV[1], ARGV[2])
if new then redis.call('HSET', KEYS[1], ARGV[1], new) end
if old and old ~= new then redis.call('SADD', KEYS[2], old) end
"""
DELETE = """
local generation = redis.call('HGET', KEYS[1], ARGV[1])
if not generation then return end
local registry = 'penstock:' .. generation
for at = 2, #ARGV, 2 do
  local name = '=' .. ARGV[at]
  redis.call('HDEL', registry .. ':' .. name, ARGV[at + 1])
  if name == '=' then redis.call('ZREM', registry .. ':#', ARGV[at + 1]) end
  -- A name without its key would be missed.
  if redis.call('EXISTS', registry .. ':' .. name) == 0 then
    redis.call('SREM', registry, name)
    if name == '=' then redis.call('SREM', registry, '#') end
  end
end
"""
ORDERED = """
local sorts = redis.call('ZRANGEBYLEX', KEYS[1] .. '#', ARGV[1], '+', 'LIMIT', 0, ARGV[2])
local values = {}
for at = 1, #sorts, 1000 do
  local part = {unpack(sorts, at, math.min(at + 999, #sorts))}
  for _, value in ipairs(redis.call('HMGET', KEYS[1] .. '=', unpack(part))) do
    values[#values + 1] = value
  end
end
return {sorts, values}
"""
ACQUIRE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[2] then return false end
-- The server's clock: were there only a counter, a server that lost its newest part in a power cut
-- would give a token twice.
local now = redis.call('TIME')
local last = redis.call('HGET', KEYS[2], ARGV[1]) or 0
local token = math.max(last + 1, now[1] * 1000000 + now[2])
redis.call('HSET', KEYS[2], ARGV[1], token)
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return token
"""
RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[3] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[4])
"""

LACKING = """
local generation = redis.call('HGET', KEYS[1], ARGV[1])
if not generation then return {'', 0, 0} end
local registry = 'penstock:' .. generation
local names = redis.call('SRANDMEMBER', registry, ARGV[2])
local there = 0
for _, name in ipairs(names) do
  there = there + redis.call('EXISTS', registry .. ':' .. name)
end
return {generation, #names, there}
"""
