"""What a network has been doing: week by week, how its input drifts, and the reviews that a person closes."""
