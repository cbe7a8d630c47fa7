#!lua flags=no-writes,allow-oom
-- look, version 1: answer several questions about one shard as it is at this moment. Changes nothing.
--
-- KEYS[1]  the shard's meta hash, which lies in the slot of all its keys
-- ARGV[1]  prefix of all keys of the shard
-- ARGV[2]  most bytes that the answers may have, roughly, decimal: this server does nothing else meanwhile
-- ARGV[3]  msgpack of a list of questions {verb, suffix, argument...}. Verbs are those of `read`; besides
--          {'EACH', suffix of a hash, begin of a suffix}: for every field of the hash, the list under begin .. field
--
-- Result   one answer each; of EACH a flat list: field, list, field, list, ...
-- Errors   TOOLARGE bytes   the answers would be larger than that; nothing was answered
--
-- Invariant: no commit comes between two answers, so what they say is true together.

local prefix, most = ARGV[1], tonumber(ARGV[2])
local questions = cmsgpack.unpack(ARGV[3])
local call, total, answers = redis.call, 0, {}

-- An estimate of the server's, from a few samples: it costs little, also for a large key.
local function room_for(key)
  total = total + (call('MEMORY', 'USAGE', key) or 0)
  return total <= most
end

for i = 1, #questions do
  local question = questions[i]
  local verb, key = question[1], prefix .. question[2]
  if not room_for(key) then return redis.error_reply('TOOLARGE ' .. total) end
  if verb == 'EACH' then
    local found = {}
    for _, field in ipairs(call('HKEYS', key)) do
      local list = prefix .. question[3] .. field
      if not room_for(list) then return redis.error_reply('TOOLARGE ' .. total) end
      found[#found + 1] = field
      found[#found + 1] = call('LRANGE', list, 0, -1)
    end
    answers[i] = found
  else
    question[2] = key
    answers[i] = call(unpack(question))
  end
end
return answers
