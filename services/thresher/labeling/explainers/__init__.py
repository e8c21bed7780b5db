"""Ways to put a feature into words."""
