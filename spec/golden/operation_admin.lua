local spec = require "gateway.spec"
local function admin(given)
  spec.state.settings.admin = nil
  gateway.admin(given)
end
admin { "127.0.0.1:1", tokn = "x" }
admin { "127.0.0.1:1", token = "short" }
admin { "127.0.0.1:1", token = "0123456789 abcdef" }
admin { "127.0.0.1:1", token = "0123456789abcdef", token_file = "t" }
admin { "127.0.0.1:1", token_file = "/nothing/here" }
admin { "unix:/a", mode = "rw" }
admin { "127.0.0.1:1", mode = "0660" }
