"""Reads every kind of source, from disk or from a bucket."""
