"""Networks, losses, optimisers and augmentation side by side on the same patients, for the same time.

    python -m models.comparison CASES OUT

CASES is a folder with NIfTI files and a dataset.json, as `node.learning.pet_cases` makes it.
"""
