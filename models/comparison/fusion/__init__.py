"""Does a second series help? PET alone, CT alone and both, on patients that none of them has seen."""
