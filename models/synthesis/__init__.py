"""Made-up training cases: a generator that is conditioned on labels, what it makes, and how like the real it is."""
