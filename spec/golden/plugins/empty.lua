return { name = "empty", new = function() end }
