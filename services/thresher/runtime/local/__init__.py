"""The local stack: SeaweedFS, vLLM's server, the bundled model and text, all on loopback."""
