"""The self-check: finished bytes, read back as a stranger would and compared with the run that they tell of."""
