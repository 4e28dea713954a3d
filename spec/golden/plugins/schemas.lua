return {
  name = "schemas", new = print,
  exclusive = { "a", "nobody" }, one_required = 5, together = { { "a" } },
  schema = {
    "string", a = 5, b = "strng", c = {}, d = { type = 5 }, e = { type = "string", defualt = 1 }, f = { type = "string", min_items = 1 },
    g = { type = "string", required = "yes" }, h = { type = "string", default = 5 }, i = { type = "string", required = true, default = "x" },
    j = { type = "integer", min = 5, max = 1 }, k = { type = "string", pattern = "(" }, l = "enum", m = "union",
    n = { any_of = { "string" } }, o = { type = "list", of = "x" }, p = { type = "string", renamed_from = "a" },
    q = { fields = 5 }, r = { type = "record", exclusive = { "a", "b" } }, s = { fields = { a = "string" }, exclusive = { "a", "b" } },
    t = { type = "map", keys = 5 }, u = { type = "string", check = 5, one_of = {}, description = 5, deprecated = 5, renamed_from = {} },
    v = { type = "url", schemes = "http" },
  },
}
