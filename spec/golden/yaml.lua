gateway.listen "a:1"
gateway.load(5)
gateway.load "missing.yaml"
gateway.load "plugins"
gateway.load "syntax.yaml"
gateway.load "list.yaml"
gateway.load "routes.yaml"
gateway.load "shapes.yaml"
gateway.load "shapes2.yaml"
