"""Try it all now: a rendered shop, its search, its shoppers, and the servers they need."""
