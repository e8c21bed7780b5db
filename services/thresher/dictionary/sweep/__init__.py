"""Many dictionaries from one spec, trained on as few reads of the rows as memory allows."""
