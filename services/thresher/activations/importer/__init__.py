"""Activations made elsewhere, read from arrays and tables and written as a harvest."""
