"""The measurements as structured reports (TID 1500, PS3.16): volumes, diameters, and variants of both."""
