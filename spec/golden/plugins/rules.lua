return {
  name = "rules", new = function() return print end,
  schema = { a = "integer", b = "integer", c = "integer", d = "integer", bad = "string" },
  exclusive = { "a", "b" }, one_required = { "d", "bad" }, together = { "c", "d" },
  check = function(config)
    if config.bad == "a" then return "a", "expected another number" end
    if config.bad == "text" then return "expected something else" end
    if config.bad == "false" then return false end
    if config.bad == "nil" then return nil, "expected something" end
  end,
}
