-- What has to be known of LuaJIT's insides is found in the LuaJIT that is installed. What it is good for is seen in
-- e2e/memory_spec.lua.

local cdef = require "spec.support.cdef"

local C = cdef.load "script/luajit.h"

describe("what is learnt of LuaJIT", function()
  it("is known", function() assert.is_true(C.gw_luajit_learnt()) end)

  it("stays known", function() assert.is_true(C.gw_luajit_learnt()) end)
end)
