"""The whole learning loop on real images: `make learn`."""
