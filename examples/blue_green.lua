-- Two whole deployments; which one is live is one word in this file, and testers reach the other by a header.
--
--     gateway examples/blue_green.lua
--     curl http://127.0.0.1:8080/                        blue
--     curl http://127.0.0.1:8080/ -H 'X-Stage: next'     green
--
-- Change `live` to "green" and save: requests under way end where they began, every later one goes to green.

local gateway = require "gateway"
local demo = require "demo"

gateway.listen "127.0.0.1:8080"

local live = "blue"

local deployments = {
  blue = demo.upstream("blue", function() return { deployment = "blue" } end),
  green = demo.upstream("green", function() return { deployment = "green" } end),
}
local idle = live == "blue" and "green" or "blue"

-- More header conditions go before fewer, so the order of these two does not matter.
gateway.route "/" { name = "next", headers = { ["X-Stage"] = "next" }, to = deployments[idle] }
gateway.route "/" { name = "live", to = deployments[live] }
