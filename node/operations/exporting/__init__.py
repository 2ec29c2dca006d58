"""What leaves the house de-identified: studies as Part 10 files, data sets as NIfTI; never half, never unrecorded."""
