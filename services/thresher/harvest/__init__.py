"""Taps inside vLLM, the Ray actor around it, the shard writer, the coordinator."""
