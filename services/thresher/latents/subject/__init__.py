"""The language model that a dictionary is of, run by transformers with its sites read or replaced."""
