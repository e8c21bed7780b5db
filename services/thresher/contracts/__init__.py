"""What stages exchange: ids, paths, Arrow schemas, manifests. Imports no torch, ray or vllm."""
