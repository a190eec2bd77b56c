"""What Redis does in one step, in Lua: the roll call after a restart, leases of a budget, rates.

Amounts of money are whole pico-dollars as decimal texts, and all arithmetic on them is HINCRBY, which has 64 bits: Lua's own
numbers are doubles, exact only up to some 9,000 USD. Times are milliseconds of Redis' own clock.

Keys of a script: M the marker (`epoch`, `until`), B one budget (`granted`, `epoch`, and for each gateway `lease:ID`,
`seq:ID`, `free:ID`, `out:EPOCH:ID`), R the gateways by the time they were last seen, T one key's rates.
"""

from __future__ import annotations

_COMMON = """
local function run_id() return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') end
local function now_ms() local t = redis.call('TIME'); return t[1] * 1000 + math.floor(t[2] / 1000) end
local function is(epoch)
  return redis.call('HGET', KEYS[1], 'epoch') == epoch and string.match(epoch, '^%x+') == run_id()
end
local function less(a, b)  -- of decimal texts
  local below = string.sub(a, 1, 1) == '-'
  if below ~= (string.sub(b, 1, 1) == '-') then return below end
  if below then a, b = string.sub(b, 2), string.sub(a, 2) end
  if #a ~= #b then return #a < #b end
  return a < b
end
local function minus(a) if a == '0' then return a end return '-' .. a end
local function difference(a, b)  -- a - b of whole numbers that are not negative
  redis.call('HSET', KEYS[2], 'x', a)
  redis.call('HINCRBY', KEYS[2], 'x', minus(b))
  return redis.call('HGET', KEYS[2], 'x')
end
"""

# Keys M, R; arguments: settle ms, id, ms after which a gateway is forgotten. Begins a roll call where Redis was restarted
# or emptied. Returns epoch, until, ms left, gateways alive.
MEET = (
    _COMMON
    + """
local run, now = run_id(), now_ms()
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch or string.match(epoch, '^%x+') ~= run then
  epoch = run .. ':' .. string.format('%.0f', now)
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'until', string.format('%.0f', now + ARGV[1]))
end
redis.call('ZADD', KEYS[2], now, ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[3])
local until_ms = redis.call('HGET', KEYS[1], 'until')
return {epoch, until_ms, string.format('%.0f', math.max(0, until_ms - now)), tostring(redis.call('ZCARD', KEYS[2]))}
"""
)

# Keys M, B; arguments: epoch, id, drawn, the least of it that is bound, outstanding, expiry. A gateway says what it holds.
# Once the roll call has ended what was said stands, and who has said nothing counts with all it has drawn: the sum of the
# store may have been read already. After the budget was confirmed, what Redis did not know of is added. Returns what was
# done, and the lease.
ATTEND = (
    _COMMON
    + """
if not is(ARGV[1]) then return {'moved', '0'} end
if redis.call('HGET', KEYS[2], 'epoch') ~= ARGV[1] then
  local out, outstanding = 'out:' .. ARGV[1] .. ':' .. ARGV[2], ARGV[5]
  if now_ms() >= tonumber(redis.call('HGET', KEYS[1], 'until')) then
    outstanding = redis.call('HGET', KEYS[2], out) or ARGV[3]
  end
  redis.call('HSET', KEYS[2], 'lease:' .. ARGV[2], ARGV[3], out, outstanding)
  redis.call('EXPIREAT', KEYS[2], ARGV[6])
  return {'noted', ARGV[3]}
end
local had = redis.call('HGET', KEYS[2], 'lease:' .. ARGV[2]) or '0'
if less(had, ARGV[4]) then
  redis.call('HINCRBY', KEYS[2], 'granted', difference(ARGV[4], had))
  redis.call('HSET', KEYS[2], 'lease:' .. ARGV[2], ARGV[4])
  had = ARGV[4]
end
return {'late', had}
"""
)

# Keys M, B; arguments: epoch, what the store says was spent (empty: ask for it), expiry. Granted is from now on the spent and
# what the gateways hold, and never less than it was. Returns what was done.
CONFIRM = (
    _COMMON
    + """
if not is(ARGV[1]) then return 'moved' end
if redis.call('HGET', KEYS[2], 'epoch') == ARGV[1] then return 'ok' end
if now_ms() < tonumber(redis.call('HGET', KEYS[1], 'until')) then return 'early' end
if ARGV[2] == '' then return 'base' end
redis.call('HSET', KEYS[2], 'x', ARGV[2])
local all, gone, said = redis.call('HGETALL', KEYS[2]), {}, 'out:' .. ARGV[1] .. ':'
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 4) == 'out:' then
    if string.sub(all[i], 1, #said) == said then redis.call('HINCRBY', KEYS[2], 'x', all[i + 1]) end
    gone[#gone + 1] = all[i]
  end
end
local sum = redis.call('HGET', KEYS[2], 'x')
local granted = redis.call('HGET', KEYS[2], 'granted')
if granted and less(sum, granted) then sum = granted end
redis.call('HSET', KEYS[2], 'granted', sum, 'epoch', ARGV[1])
for _, field in ipairs(gone) do redis.call('HDEL', KEYS[2], field) end
redis.call('EXPIREAT', KEYS[2], ARGV[3])
return 'ok'
"""
)

# Keys M, B, R; arguments: epoch, id, seq, cap, wanted, least that is of use, given back, free afterwards. `seq` counts a
# gateway's draws: one that comes late, behind a newer one, does nothing. Returns what was done, the whole lease, the room
# that is left, what others have free, and 1 if another one lacks it.
DRAW = (
    _COMMON
    + """
if not is(ARGV[1]) or redis.call('HGET', KEYS[2], 'epoch') ~= ARGV[1] then return {'moved', '0', '0', '0', '0'} end
local lease, seq, free = 'lease:' .. ARGV[2], 'seq:' .. ARGV[2], 'free:' .. ARGV[2]
local last = redis.call('HGET', KEYS[2], seq)
if last and not less(last, ARGV[3]) then return {'late', '0', '0', '0', '0'} end
redis.call('HSET', KEYS[2], seq, ARGV[3], free, ARGV[8])
if ARGV[7] ~= '0' then
  redis.call('HINCRBY', KEYS[2], 'granted', minus(ARGV[7]))
  redis.call('HINCRBY', KEYS[2], lease, minus(ARGV[7]))
end
local room = difference(ARGV[4], redis.call('HGET', KEYS[2], 'granted'))
local give = ARGV[5]
if less(room, give) then give = room end
if less(room, ARGV[6]) or less(room, '0') then give = '0' end
if give ~= '0' then
  redis.call('HINCRBY', KEYS[2], 'granted', give)
  redis.call('HINCRBY', KEYS[2], lease, give)
  redis.call('HINCRBY', KEYS[2], free, give)
  room = difference(room, give)
end
local now, others, lacking = now_ms(), 0, '0'
local lacks = ARGV[5] ~= '0' and less(give, ARGV[6])
local at, who = string.match(redis.call('HGET', KEYS[2], 'short') or '0 ', '^(%d+) (.*)$')
if who ~= '' and now - at >= 1000 then who = '' end
if who == ARGV[2] and not lacks then
  redis.call('HDEL', KEYS[2], 'short')
elseif lacks and (who == '' or ARGV[2] <= who) then  -- of several that lack it, the first gets what the others hold
  redis.call('HSET', KEYS[2], 'short', string.format('%.0f', now) .. ' ' .. ARGV[2])
elseif who ~= '' and who ~= ARGV[2] then
  lacking = '1'
end
for _, one in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  if one ~= ARGV[2] then others = others + tonumber(redis.call('HGET', KEYS[2], 'free:' .. one) or '0') end
end
return {'ok', redis.call('HGET', KEYS[2], lease) or '0', room, string.format('%.0f', others), lacking}
"""
)

# Key T; arguments: requests a minute, tokens a minute (0: no limit), permits wanted, tokens used since. Buckets that fill
# evenly, a minute's worth at most. Returns permits, ms until there is one, tokens left.
RATE = """
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local had = redis.call('HMGET', KEYS[1], 'requests', 'tokens', 'at')
local rpm, tpm = tonumber(ARGV[1]), tonumber(ARGV[2])
local gone = math.max(0, now - (tonumber(had[3]) or now))
local requests = math.min(rpm, (tonumber(had[1]) or rpm) + gone * rpm / 60)
local tokens = math.min(tpm, (tonumber(had[2]) or tpm) + gone * tpm / 60) - tonumber(ARGV[4])
local wanted, wait = tonumber(ARGV[3]), 0
local give = wanted
if tpm > 0 and tokens < 1 then give, wait = 0, (1 - tokens) * 60000 / tpm end
if rpm > 0 and give > 0 then
  give = math.min(wanted, math.floor(requests))
  if give < 1 then give, wait = 0, (1 - requests) * 60000 / rpm end
  requests = requests - give
end
redis.call('HSET', KEYS[1], 'requests', string.format('%.6f', requests), 'tokens', string.format('%.6f', tokens),
  'at', string.format('%.6f', now))
redis.call('EXPIRE', KEYS[1], 180)
return {tostring(give), string.format('%.0f', math.ceil(wait)), string.format('%.6f', tokens)}
"""
