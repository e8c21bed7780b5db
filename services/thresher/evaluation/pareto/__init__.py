"""Dictionaries beside each other: FVU against L0, and which of them no other one beats."""
