"""What each group of commands takes. Imports nothing heavy: `--help` is made from it."""
