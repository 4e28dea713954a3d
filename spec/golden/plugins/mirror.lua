return { name = "mirror", new = function() return print end, schema = { to = "upstream" } }
