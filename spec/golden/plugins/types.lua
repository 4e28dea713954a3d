local rule = { fields = { status = { type = "integer", min = 100, max = 599, required = true } } }
return {
  name = "types", new = function() return function(_, next) return next() end end,
  schema = {
    required = { type = "string", required = true }, string = "string", integer = "integer", range = { type = "number", min = 0.5, max = 1 },
    duration = "duration", enum = { one_of = { "strict", "loose" } }, list = { type = "list", of = "string" },
    unique = { type = "list", unique = true }, few = { type = "list", min_items = 1 }, map = "map",
    keys = { type = "map", keys = { type = "string", pattern = "^%l$" } }, rules = { type = "list", of = rule },
    union = { any_of = { "integer", { type = "list", of = "integer" } } }, union2 = { any_of = { "integer", { type = "list", of = "integer" } } },
    cidr = "cidr", url = "url", regex = "regex", upstream = "upstream",
    secret = { type = "string", secret = true, pattern = "^%d+$" }, secrets = { type = "map", of = "string", secret = true },
    checked = { type = "string", check = function(value) if value == "no" then return "not this one" end end },
    broken = { type = "string", check = function() error "no luck" end }, odd = { type = "string", check = function() return 5 end },
    quiet = { type = "string", check = function() return false end },
    union3 = { any_of = { "integer", { fields = { a = { type = "integer", deprecated = true } } } } },
    new = { type = "integer", renamed_from = "old" }, gone = { type = "integer", deprecated = "leave it out" },
  },
}
