"""Steps from a first state to the last: trainer, optimiser, checkpoints, what every worker runs."""
