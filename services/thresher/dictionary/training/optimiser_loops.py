"""The inner loop of the optimiser on the CPU, compiled: everything that a step does to a row, while it is in cache."""

import numpy as np
from numpy.typing import NDArray

from thresher.latents.kernels.threads import compiled

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@compiled
def adam_rows(
    start: int,
    stop: int,
    weights: Floats,
    grads: Floats,
    exp_avg: Floats,
    exp_avg_sq: Floats,
    beta1: np.float32,
    beta2: np.float32,
    step_size: np.float32,
    root_scale: np.float32,
    epsilon: np.float32,
    edges: Ints,
    smallest_norm: np.float32,
) -> None:
    """Adam on some rows; where there are edges of blocks, the sum of a row's block norms stays 1 (optimiser.py)."""
    num_blocks = edges.shape[0] - 1
    for row in range(start, stop):
        radial = np.float32(0)
        for block in range(num_blocks):
            w, g = weights[row, edges[block] : edges[block + 1]], grads[row, edges[block] : edges[block + 1]]
            radial += _dot(g, w) / max(np.sqrt(_dot(w, w)), smallest_norm)
        if num_blocks <= 0:
            _adam(
                weights[row], grads[row], exp_avg[row], exp_avg_sq[row],
                beta1, beta2, step_size, root_scale, epsilon, np.float32(0),
            )  # fmt: skip
            continue
        total = np.float32(0)
        for block in range(num_blocks):
            part = slice(edges[block], edges[block + 1])
            w = weights[row, part]
            inward = radial / (np.float32(num_blocks) * max(np.sqrt(_dot(w, w)), smallest_norm))
            _adam(
                w, grads[row, part], exp_avg[row, part], exp_avg_sq[row, part],
                beta1, beta2, step_size, root_scale, epsilon, inward,
            )  # fmt: skip
            total += np.sqrt(_dot(w, w))
        _scale(weights[row], np.float32(1) / max(total, smallest_norm))


@compiled
def _dot(a: Floats, b: Floats) -> np.float32:
    total = np.float32(0)
    for d in range(a.shape[0]):
        total += a[d] * b[d]
    return total


@compiled
def _scale(w: Floats, factor: np.float32) -> None:
    for d in range(w.shape[0]):
        w[d] *= factor


@compiled
def _adam(
    w: Floats,
    g: Floats,
    m: Floats,
    v: Floats,
    beta1: np.float32,
    beta2: np.float32,
    step_size: np.float32,
    root_scale: np.float32,
    epsilon: np.float32,
    inward: np.float32,
) -> None:
    one = np.float32(1)
    for d in range(w.shape[0]):
        grad = g[d] - inward * w[d]
        first = beta1 * m[d] + (one - beta1) * grad
        second = beta2 * v[d] + (one - beta2) * grad * grad
        m[d] = first
        v[d] = second
        w[d] -= step_size * first / (np.sqrt(second) * root_scale + epsilon)
