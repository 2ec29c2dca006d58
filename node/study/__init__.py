"""From stored instances to a volume: the archive, the header facts, the choice of series, the pixels."""
