-- A new version for some: five percent of the clients, and whoever asks for it.
--
--     gateway examples/canary.lua
--     curl -i http://127.0.0.1:8080/                        mostly "stable"; the cookie keeps a client where it is
--     curl http://127.0.0.1:8080/ -H 'X-Canary: always'     "next"
--
-- Raise `weight` and save: more clients change over, and nobody goes back. `steps` does the same by the clock.

local gateway = require "gateway"
local demo = require "demo"

gateway.listen "127.0.0.1:8080"

local stable = demo.upstream("stable", function() return { version = "stable" } end)
local new = demo.upstream("next", function() return { version = "next" } end)

gateway.route "/" {
  use = {
    gateway.plugin("canary", {
      to = new,
      weight = 5,
      header = "X-Canary",
      sticky = "cookie",
      mark = "X-Version",
    }),
  },
  to = stable,
}
