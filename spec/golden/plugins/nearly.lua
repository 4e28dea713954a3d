return { name = "nearly", new = function() return print end, schema = { header = "string" } }
