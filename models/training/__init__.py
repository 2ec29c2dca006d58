"""Training: a bundle's own train.json, run from memory in a process of its own, from weights and cases it is given."""
