"""Which rows a dictionary reads and which it reconstructs, where they lie and in what order they come."""
