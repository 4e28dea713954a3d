--- busted output handler of ./spec/run: prints what failed, and what a file's tests came to; writes "PASSED FAILED" to the file that
-- GATEWAY_SPEC_COUNTS names, so that a process that died says nothing and is known by that.

local pretty = require "pl.pretty"

return function(_)
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base"()

  local function describe(kind, entry)
    local trace = entry.element and entry.element.trace or entry.trace
    local where = trace and trace.short_src and ("%s:%s: "):format(trace.short_src, trace.currentline or "?") or ""
    local message = entry.message
    if type(message) ~= "string" then message = message == nil and "(no message)" or pretty.write(message) end
    io.write(("  %s  %s%s\n"):format(kind, where, entry.name or ""))
    io.write("    ", (message:gsub("\n", "\n    ")), "\n")
    if kind ~= "PENDING" and entry.trace and entry.trace.traceback then
      io.write("    ", (entry.trace.traceback:gsub("\n", "\n    ")), "\n")
    end
  end

  function handler.suiteEnd()
    for _, entry in ipairs(handler.pendings) do describe("PENDING", entry) end
    for _, entry in ipairs(handler.failures) do describe("FAILED", entry) end
    for _, entry in ipairs(handler.errors) do describe("ERROR", entry) end
    local passed, failed = handler.successesCount, handler.failuresCount + handler.errorsCount
    local pending = handler.pendingsCount > 0 and (", %d pending"):format(handler.pendingsCount) or ""
    io.write(("  %d passed, %d failed%s, in %.2f s\n"):format(passed, failed, pending, handler.getDuration()))
    io.flush()
    local path = os.getenv("GATEWAY_SPEC_COUNTS")
    if path then
      local file = assert(io.open(path, "w"))
      file:write(("%d %d\n"):format(passed, failed))
      file:close()
    end
    return nil, true
  end

  busted.subscribe({ "suite", "end" }, handler.suiteEnd)
  return handler
end
