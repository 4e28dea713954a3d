error "no luck"
