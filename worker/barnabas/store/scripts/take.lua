#!lua
-- take, version 1: give a shard to a new lease at once; what the former lease commits from now on is refused (DESIGN.md 6.5).
--
-- KEYS[1]  the shard's meta hash
-- ARGV[1]  the new lease, random bytes
-- ARGV[2]  the owner, a name for people
--
-- Result   {number, takes}: the store's last commit number (0 for a shard that never was) and how often it was taken
-- Errors   CORRUPT  a commit failed midway (commit.lua); nothing was changed
--
-- Invariant: takes rises by one with every lease, so leases of one shard can be told apart by age (R14).

local found = redis.call('HMGET', KEYS[1], 'number', 'broken')
if found[2] then return redis.error_reply('CORRUPT ' .. found[2]) end
redis.call('HSET', KEYS[1], 'lease', ARGV[1], 'owner', ARGV[2])
local takes = redis.call('HINCRBY', KEYS[1], 'takes', 1)
return {tonumber(found[1] or '0'), takes}
