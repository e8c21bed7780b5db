"""One file an architecture, its whole objective on one screen, over a small shared core."""
