"""What artifacts are worth, measured from what is stored: reports of harvests, and their check against the model."""
