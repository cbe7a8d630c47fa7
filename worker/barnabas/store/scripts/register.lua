#!lua
-- register, version 1: write services down, all or none.
--
-- KEYS[1]  the registry hash: service name -> JSON object with kind, partitions, group, handlers
-- ARGV     name, JSON, name, JSON, ...
--
-- Result   {} when all were written, else {name, JSON as it stands} of the first service that stands there otherwise
--
-- Invariant: kind, partitions and group of a registered service never change here. Handlers do: the newest registration
-- wins. Services that this call does not name stay.

for i = 1, #ARGV, 2 do
  local standing = redis.call('HGET', KEYS[1], ARGV[i])
  if standing then
    local old, new = cjson.decode(standing), cjson.decode(ARGV[i + 1])
    if old.kind ~= new.kind or old.partitions ~= new.partitions or old.group ~= new.group then
      return {ARGV[i], standing}
    end
  end
end
for i = 1, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
return {}
