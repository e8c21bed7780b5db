"""Dictionaries of other tools, both ways: a file a format, and the stages that import and export."""
