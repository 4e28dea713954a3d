--- One raw request, sent in every way it can arrive: whole, byte by byte, and in two pieces split at every boundary. The answer
-- must be the same each time.

local loop = require "spec.support.loop"
local peers = require "spec.support.peers"

local raw = {}

local PARALLEL = 24
local PAUSE = 0.0015 -- between two pieces: the gateway runs on another core and reads the first meanwhile

local function send_whole(conn, text) conn:try_write(text) end

-- byte by byte; long texts in some hundreds of pieces, to end in reasonable time
local function send_bytes(conn, text) conn:write_slowly(text, math.ceil(#text / 500), 0.0002) end

local function send_split(at)
  return function(conn, text)
    if not conn:try_write(text:sub(1, at)) then return end
    loop.sleep(PAUSE)
    conn:try_write(text:sub(at + 1))
  end
end

-- Reads the answer; "reset" when the connection broke before one came.
local function outcome(conn, options)
  local ok, response = pcall(conn.read_response, conn, { method = options.method })
  if not ok then
    if loop.is_gone(response) then return { status = "none: " .. response.what } end
    error(response, 0)
  end
  return response
end

--- Ways of sending `text`: { { name, send }, ... }. How many splits: all of them, or for long texts those around line ends and
-- every `step`-th.
function raw.ways(text)
  local ways = { { "whole", send_whole }, { "byte by byte", send_bytes } }
  local step = math.max(1, math.floor(#text / 150))
  for at = 1, #text - 1 do
    local around = text:sub(math.max(1, at - 1), at + 2):find("[\r\n]")
    if step == 1 or around or at % step == 0 then
      ways[#ways + 1] = { ("split after byte %d of %d"):format(at, #text), send_split(at) }
    end
  end
  return ways
end

--- Sends text in every way. expected: status; closed = true (the connection ends after the answer) or false (it stays and answers
-- another request); untouched = backend (it must get no request); method (when the answer has no body). Must be called inside a run.
function raw.check(g, text, expected)
  local before = expected.untouched and #expected.untouched.requests
  loop.each(expected.ways or raw.ways(text), PARALLEL, function(way)
    local conn = peers.connect(g.port)
    way[2](conn, text)
    local response = outcome(conn, expected)
    local shown = ("%s, sent %s"):format(("%q"):format(text:sub(1, 400)), way[1])
    if response.status ~= expected.status then
      error(("expected %s, got %s (%s) for %s"):format(expected.status, response.status, response.body or "", shown), 0)
    end
    if expected.closed then
      if not response.headers:lists("connection", "close") then
        error(("no Connection: close in %q for %s"):format(response.head, shown), 0)
      end
      local ok, err = pcall(conn.expect_close, conn)
      if not ok then error(("not closed: %s for %s"):format(tostring(err), shown), 0) end
    elseif expected.closed == false then
      local again = conn:ask { path = "/again" }
      if again.status ~= (expected.again or 200) then
        error(("the next request got %s for %s"):format(again.status, shown), 0)
      end
    end
    conn:close()
  end, 60)
  if before then
    if #expected.untouched.requests ~= before then
      error(("the backend got %d requests for %q"):format(#expected.untouched.requests - before, text), 0)
    end
  end
end

return raw
