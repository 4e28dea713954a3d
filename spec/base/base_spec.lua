local ffi = require "ffi"
local cdef = require "spec.support.cdef"
local C = cdef.load("base/base.h")

describe("gw_status_text", function()
  it("has a word of its own for every status", function()
    local seen = {}
    for status = C.GW_NOTFOUND, C.GW_OK do
      local text = ffi.string(C.gw_status_text(status))
      assert.not_equal("unknown status", text, tostring(status))
      assert.is_nil(seen[text], text)
      seen[text] = true
    end
  end)

  it("has one for what is no status", function()
    for _, status in ipairs { 1, -1000, 2147483647 } do
      assert.equal("unknown status", ffi.string(C.gw_status_text(status)))
    end
  end)
end)
