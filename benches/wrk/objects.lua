-- Requests for objects that each have their own name: <BENCH_PATH>/<thread>-<number>, with PARTITION in the path
-- replaced by the object's.
--
--   BENCH_METHOD  PUT, GET, HEAD or DELETE
--   BENCH_PATH    the container's path, /v1/AUTH_account/container
--   BENCH_TOKEN   sent as X-Auth-Token
--   BENCH_SIZE    bytes of a body to PUT
--   BENCH_PARTITIONS  0 asks a whole system. Otherwise an object server is asked, and among so many partitions
--                 the objects are spread; requests then carry a time and a policy, and no token
--   BENCH_FIXED   1 asks for BENCH_PATH itself, again and again
--   BENCH_TIMESTAMP  the time now, in seconds; every request of a thread has one of 10 us more
--   BENCH_LAST    number of the last name of each thread; the first is 1
--   BENCH_THEN    what a thread does after the last name:
--                   cycle  begins again
--                   end    says "drained" on stderr and stops
--                   all    waits until every request is answered, says "drained" and stops
--
-- There is a response() only for `all`, which is not for measuring: with one, wrk hands every body to Lua, and
-- on a small machine the client would then be measured rather than the server. wrk itself counts answers of
-- 400 and above.

local method = os.getenv("BENCH_METHOD")
local base = os.getenv("BENCH_PATH")
local last = tonumber(os.getenv("BENCH_LAST"))
local after = os.getenv("BENCH_THEN")
local fixed = os.getenv("BENCH_FIXED") == "1"
local partitions = tonumber(os.getenv("BENCH_PARTITIONS") or "0")
local now = tonumber(os.getenv("BENCH_TIMESTAMP") or "0")
local headers = {}
local body = nil
local drained = false
local tried = false
local answered = 0
local threads = {}

-- The number that was used last. Global, so that done() can ask every thread for it.
used = 0

function setup(thread)
  thread:set("id", #threads)
  table.insert(threads, thread)
end

function init()
  if partitions > 0 then
    headers["X-Backend-Storage-Policy-Index"] = "0"
  else
    headers["X-Auth-Token"] = os.getenv("BENCH_TOKEN")
  end
  if method == "PUT" then
    headers["Content-Type"] = "application/octet-stream"
    local octets = {}
    for i = 0, 255 do octets[#octets + 1] = string.char((i * 167 + 41) % 256) end
    local size = tonumber(os.getenv("BENCH_SIZE"))
    body = table.concat(octets):rep(math.ceil(size / 256)):sub(1, size)
  end
end

local function stop()
  if not drained then
    drained = true
    io.stderr:write("drained\n")
  end
  -- The loop of this thread ends before another answer is read, so none is counted.
  wrk.thread:stop()
end

local function ask(number)
  local path = base
  if fixed then return wrk.format(method, path, headers, body) end
  if partitions > 0 then
    path = base:gsub("PARTITION", tostring(number % partitions))
    now = now + 0.00001
    headers["X-Timestamp"] = string.format("%016.5f", now)
  end
  return wrk.format(method, path .. "/" .. id .. "-" .. number, headers, body)
end

function request()
  if id == 0 and not tried then
    -- Before it begins, wrk calls this for its first thread to see what it returns, and does not send that.
    tried = true
    return ask(1)
  end
  if used >= last and after == "cycle" then used = 0 end
  if used < last then
    used = used + 1
    return ask(used)
  end
  if after == "end" then stop() end
  -- Something must be sent. Answered with 200, which no PUT and no DELETE of an object is.
  return wrk.format("GET", "/healthcheck")
end

if after == "all" then
  function response(status)
    if status ~= 200 then answered = answered + 1 end
    if answered >= last then stop() end
  end
end

function done(summary, latency)
  local errors = summary.errors
  local least = nil
  for _, thread in ipairs(threads) do
    local n = thread:get("used")
    if not least or n < least then least = n end
  end
  io.write(string.format(
    'RESULT {"seconds": %.3f, "answers": %d, "bytes": %.0f, "p50_ms": %.3f, "p99_ms": %.3f, '
      .. '"last": %d, "refused": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}\n',
    summary.duration / 1e6, summary.requests, summary.bytes, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, least, errors.status, errors.connect, errors.read, errors.write,
    errors.timeout))
end
