"""Sparse dictionaries: one file an architecture, the Ray Train loop, checkpoints, exporters."""
