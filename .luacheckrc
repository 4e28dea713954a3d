std = "luajit"
max_line_length = 140
self = false -- methods may leave it unused
codes = true
cache = false
exclude_files = { "build", "spec/golden" }

files["spec"] = { std = "+busted" }
