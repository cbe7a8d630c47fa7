#!lua
-- commit, version 2: a numbered change to one shard, applied as a whole or refused as a whole (DESIGN.md 5, R3, R5).
--
-- KEYS[1]  the shard's meta hash: fields lease, number, takes, owner, broken are the scripts' own
-- ARGV[1]  lease under which the caller works
-- ARGV[2]  number of this commit, decimal
-- ARGV[3]  prefix of all keys of the shard; it holds the hash tag, so every key built from it lies in KEYS[1]'s slot
-- ARGV[4]  msgpack (raw strings, no bin type: Valkey's cmsgpack does not know it) of a list of {verb, suffix, argument...}
--
-- Result   {'applied', number} | {'lease', number} | {'number', number}, number being the store's last one
-- Errors   BADOP    an op is malformed: a bug of the caller; nothing was changed
--          CORRUPT  an op failed although well-formed (a key of another type): the shard is closed, see below
--
-- Invariant: meta's number counts exactly the commits that were applied whole. Lease first, then number, then the form of
-- every op; only then the first write, and the number last. What can still fail after the first write is a key of
-- the wrong type, which no commit of ours can make. Redis cannot roll back, so such a half commit closes the shard: `broken` is
-- set, and every take and commit from then on answers CORRUPT until a person has looked. Asking TYPE of every key
-- first would double the calls of the hot path for a case that does not happen.
-- Without the flag allow-oom the server refuses the whole script when memory is short, before it starts (R15).

local meta, prefix = KEYS[1], ARGV[3]
local found = redis.call('HMGET', meta, 'lease', 'number', 'broken')
local number = found[2] or '0'
if found[3] then return redis.error_reply('CORRUPT ' .. found[3]) end
if found[1] ~= ARGV[1] then return {'lease', number} end

local ops = cmsgpack.unpack(ARGV[4])
if #ops == 0 and ARGV[2] == number then return {'applied', number} end
-- a check that is one ahead is no commit: it would hide that the store fell back by that one
if #ops == 0 or tonumber(ARGV[2]) ~= tonumber(number) + 1 then return {'number', number} end

-- verb -> {fewest arguments after the key, most, a multiple of}
local MANY = math.huge
local FORMS = {
  HSET = {2, MANY, 2}, HDEL = {1, MANY, 1}, DEL = {0, 0, 1}, RPUSH = {1, MANY, 1}, LTRIM = {2, 2, 1},
  LREM = {1, 1, 1},
  ZADD = {2, MANY, 2}, ZREM = {1, MANY, 1}, SADD = {1, MANY, 1}, SREM = {1, MANY, 1},
}

local function numeric(op, step)
  for i = 3, #op, step do
    local value = tonumber(op[i])
    if not value or value ~= value then return false end
  end
  return true
end

for i = 1, #ops do
  local op = ops[i]
  local form, count = FORMS[op[1]], #op - 2
  if not form or count < form[1] or count > form[2] or count % form[3] ~= 0
    or (op[1] == 'ZADD' and not numeric(op, 2)) or (op[1] == 'LTRIM' and not numeric(op, 1)) then
    return redis.error_reply('BADOP number ' .. i .. ' of the commit, verb ' .. tostring(op[1]))
  end
end

local CHUNK = 4000 -- unpack is limited to about 8000 values; even, so that pairs stay together
local call = redis.call

local function apply()
  for i = 1, #ops do
    local op = ops[i]
    local key, last = prefix .. op[2], #op
    if op[1] == 'LREM' then
      call('LREM', key, 1, op[3])
    elseif last <= CHUNK then
      op[2] = key
      call(unpack(op))
    else
      for first = 3, last, CHUNK do
        call(op[1], key, unpack(op, first, math.min(first + CHUNK - 1, last)))
      end
    end
  end
  call('HSET', meta, 'number', ARGV[2])
end

local ok, failure = pcall(apply)
if not ok then
  local text = type(failure) == 'table' and failure.err or tostring(failure)
  local broken = 'commit ' .. ARGV[2] .. ' failed midway: ' .. text
  redis.call('HSET', meta, 'broken', broken)
  return redis.error_reply('CORRUPT ' .. broken)
end
return {'applied', ARGV[2]}
