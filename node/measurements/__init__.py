"""What is measured of a label map, in numbers: sizes, values, diameters, quality flags, change against before."""
