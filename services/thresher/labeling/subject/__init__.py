"""The model that a dictionary is of, in this process: it decodes vectors, fires on texts, and is steered."""
