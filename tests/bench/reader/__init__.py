"""The sides of the reader's bench, each a process of its own."""
