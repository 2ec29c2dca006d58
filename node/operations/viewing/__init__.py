"""Images with the contours of what was found in them, one slice at a time: what a page shows without a viewer."""
