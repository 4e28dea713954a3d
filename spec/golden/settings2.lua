-- The log's settings; and what cannot be set.
gateway.listen "a:1"
gateway.access_log { headers = { "a b", "Authorization", "X-A" } }
gateway.event_log(5)
gateway.script(5)
gateway.script { cpu = 0, memory = "1KB", lod = 5 }
local many = {}
for i = 1, 17 do many[i] = "X-" .. i end
gateway.access_log { response_headers = many }
try(function() gateway.timeouts = { idle = 5 } end)
try(function() gateway.anything = 5 end)
gateway.tracing(5)
gateway.tracing { headers = { ["a b"] = "x", Host = "y", ["X-Key"] = "a\nb" }, ratio = 2 }
