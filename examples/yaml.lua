-- Routes from YAML beside routes from Lua; saving either file reloads.
--
--     gateway examples/yaml.lua

local gateway = require "gateway"

gateway.listen "127.0.0.1:8080"
gateway.load "routes.yaml"

gateway.route "/" { to = gateway.respond(404, { error = "no such thing" }) }
