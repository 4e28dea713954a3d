-- JSON Web Tokens, and what their roles may do.
--
--     JWT_SECRET=an-example-secret-of-32-bytes!!! gateway examples/jwt_roles.lua
--     curl -i http://127.0.0.1:8080/articles                                      401
--     curl -i http://127.0.0.1:8080/articles -H "Authorization: Bearer $TOKEN"    200
--     curl -i -X DELETE http://127.0.0.1:8080/articles/7 -H "Authorization: Bearer $TOKEN"
--                                                                                 403, unless its "roles" have "admin"
--
-- With an identity provider, say jwks_url instead of secret: its keys are fetched, cached, and fetched anew when a new one appears.

local gateway = require "gateway"
local demo = require "demo"

gateway.listen "127.0.0.1:8080"

local articles = demo.upstream("articles", function(request)
  return { method = request.method, path = request.path, user = request.headers["x-user"] }
end)

local secret = os.getenv "JWT_SECRET" or "an-example-secret-of-32-bytes!!!"

local function signed_in(roles)
  return gateway.plugin("jwt", {
    secret = secret,
    roles = roles and { any = roles } or nil,
    claims_to_headers = { sub = "X-User" },
  })
end

gateway.route "/articles" { methods = { "GET" }, use = { signed_in() }, to = articles }
gateway.route "/articles" { methods = { "POST", "PUT" }, use = { signed_in { "editor", "admin" } }, to = articles }
gateway.route "/articles" { methods = { "DELETE" }, use = { signed_in { "admin" } }, to = articles }
