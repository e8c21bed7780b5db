"""Publish, pull and verify releases. Imports no torch, ray or vllm."""
