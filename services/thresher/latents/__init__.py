"""The encoder at inference (weights in, sparse codes out) and the sparse kernels."""
