"""One file a version of the schema. A published one is never edited: add another."""
