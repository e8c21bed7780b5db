"""What a dictionary costs its model: the reconstruction spliced in, against the rows themselves and ablations."""
