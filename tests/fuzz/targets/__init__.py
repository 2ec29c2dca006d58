"""One module for each reader; each has a TARGET."""
