return { name = "other", schema = 5, check = 5, version = 1, description = {}, priority = 5, shcema = {}, _own = 5, example = 5 }
