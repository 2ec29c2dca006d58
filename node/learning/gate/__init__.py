"""Whether a candidate goes live: declared before the run, judged on locked patients."""
