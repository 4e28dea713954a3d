-- Greets a client that has been here before. Shows what a plugin can have: options with types, state that all workers share, a counter.

local gateway = require "gateway"

return {
  name = "greet",
  version = "1.0.0",
  description = "Adds a greeting to the answers of clients that come again.",
  schema = {
    greeting = { type = "string", default = "Welcome back", description = "what is said" },
    after = { type = "integer", default = 2, min = 1, description = "from which visit on" },
    memory = { type = "duration", default = "1h", description = "how long a client is remembered" },
  },
  new = function(config)
    local visits = gateway.shared("greet-visits", { size = "1MB" }) -- all workers see the same one, and a reload keeps it
    local greeted = gateway.counter("greetings_total", "Clients that were greeted.")

    return function(request, next)
      local count = visits:incr(request.client_ip, 1, 0, config.memory) or 1
      local response = next()
      if count >= config.after then
        response.headers["X-Greeting"] = config.greeting
        greeted:inc()
      end
      return response
    end
  end,
}
