"""The store of activation shards: readers, seekable shuffle, loader."""
