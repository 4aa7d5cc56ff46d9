"""What Redis does in one step. A job is a hash (job, content, state, outcome, by); a stream holds the ids of those not done.

Lua runs whole or not at all, so that no death of a service or worker leaves half of a step behind.
"""

from __future__ import annotations

from typing import Final

#: KEYS job, stream, idempotency key (or ""); ARGV id, job, content, most waiting, ms to keep.
#: Returns the id, or the count where that is too many.
SUBMIT: Final = """
if redis.call('EXISTS', KEYS[1]) == 1 then return ARGV[1] end
if KEYS[3] ~= '' then
  local other = redis.call('GET', KEYS[3])
  if other then return other end
end
local count = redis.call('XLEN', KEYS[2])
if count >= tonumber(ARGV[4]) then return count end
redis.call('HSET', KEYS[1], 'job', ARGV[2], 'content', ARGV[3], 'state', 'waiting')
redis.call('PEXPIRE', KEYS[1], ARGV[5])
if KEYS[3] ~= '' then redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[5]) end
redis.call('XADD', KEYS[2], '*', 'id', ARGV[1])
return ARGV[1]
"""

#: KEYS stream; ARGV group, ticket, consumer. A job that another worker has claimed meanwhile stays that one's.
RENEW: Final = """
local mine = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1, ARGV[3])
if #mine > 0 then redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, ARGV[2], 'JUSTID') end
return #mine
"""

#: KEYS job, stream; ARGV group, ticket, job, outcome, by, ms to keep, channel, id.
#: Returns 1 for the first answer, also where it is told again because the first reply was lost.
FINISH: Final = """
redis.call('XACK', KEYS[2], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[2], ARGV[2])
if redis.call('HEXISTS', KEYS[1], 'outcome') == 1 then
  if redis.call('HGET', KEYS[1], 'by') == ARGV[5] then return 1 end
  return 0
end
redis.call('HSET', KEYS[1], 'job', ARGV[3], 'state', 'done', 'outcome', ARGV[4], 'by', ARGV[5])
redis.call('HDEL', KEYS[1], 'content')
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('PUBLISH', ARGV[7], ARGV[8])
return 1
"""

#: KEYS stream; ARGV group, ticket, id, consumer. Puts a job up anew where it is still this worker's.
GIVE_BACK: Final = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1, ARGV[4]) == 0 then return 0 end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[1], '*', 'id', ARGV[3])
return 1
"""

#: KEYS number, snapshots; ARGV before, behind the number. Returns the number.
ADD_SNAPSHOT: Final = """
local number = redis.call('INCR', KEYS[1])
redis.call('HSET', KEYS[2], number, ARGV[1] .. number .. ARGV[2])
return number
"""

#: KEYS desired; ARGV revision before, state. Returns 0 where it has changed meanwhile.
SET_DESIRED: Final = """
local now = redis.call('HGET', KEYS[1], 'revision') or '0'
if now ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'revision', ARGV[3], 'state', ARGV[2])
return 1
"""

#: KEYS desired, number, snapshots; ARGV revision, state, last number, then number and snapshot in turn.
#: Returns 0 where this revision is there, or a later one. Nothing of another beginning is left.
RESTORE: Final = """
local now = redis.call('HGET', KEYS[1], 'revision') or '0'
if tonumber(now) >= tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[3])
for index = 4, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[index], ARGV[index + 1]) end
redis.call('SET', KEYS[2], ARGV[3])
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'state', ARGV[2])
return 1
"""
