"""The rows that every side trains on: sums of planted features on an uneven background.

Shape suffixes: N rows, D width, P planted features.
"""

from pathlib import Path

import numpy as np

from fit.case import D_IN, HELD_OUT_FILE, TRAIN_FILE

NUM_FEATURES, MEAN_ACTIVE = 8192, 24
TRAIN_ROWS, HELD_OUT_ROWS = 1 << 16, 1 << 13
FREQUENCY_EXPONENT, SPECTRUM_EXPONENT, BACKGROUND_SHARE = 0.8, 0.5, 0.1


def write_rows(folder: Path, seed: int) -> None:
    """Both files: features with frequencies by Zipf's law and log-normal strengths, of which some two dozen are active
    in a row, a Gaussian background whose variances fall as a power law (a tenth of the variance), and a mean, scaled so
    that the mean norm of a row is sqrt(D)."""
    generator = np.random.default_rng(seed)
    features_PD = generator.standard_normal((NUM_FEATURES, D_IN), dtype=np.float32)
    features_PD /= np.linalg.norm(features_PD, axis=1, keepdims=True)
    share_P = np.arange(1, NUM_FEATURES + 1) ** -FREQUENCY_EXPONENT
    share_P = np.minimum(MEAN_ACTIVE * share_P / share_P.sum(), 0.5)
    deviation_D = np.arange(1, D_IN + 1, dtype=np.float32) ** -SPECTRUM_EXPONENT
    mean_D = 0.5 * generator.standard_normal(D_IN, dtype=np.float32) / D_IN**0.5
    scale = None
    for file, num_rows in ((TRAIN_FILE, TRAIN_ROWS), (HELD_OUT_FILE, HELD_OUT_ROWS)):
        rows_ND = _signal(generator, features_PD, share_P, num_rows)
        background_ND = generator.standard_normal((num_rows, D_IN), dtype=np.float32) * deviation_D
        power = (
            BACKGROUND_SHARE
            / (1 - BACKGROUND_SHARE)
            * rows_ND.var(axis=0).sum()
            / np.square(deviation_D).sum()
        )
        rows_ND += background_ND * np.float32(power**0.5) + mean_D
        scale = scale or D_IN**0.5 / np.linalg.norm(rows_ND, axis=1).mean()
        np.save(folder / file, (rows_ND * np.float32(scale)).astype(np.float32))


def _signal(
    generator: np.random.Generator, features_PD: np.ndarray, share_P: np.ndarray, num_rows: int
) -> np.ndarray:
    pieces = []
    for start in range(0, num_rows, 4096):
        shape = (min(4096, num_rows - start), NUM_FEATURES)
        active_NP = generator.random(shape, dtype=np.float32) < share_P.astype(np.float32)
        strength_NP = np.zeros(shape, dtype=np.float32)
        strength_NP[active_NP] = generator.lognormal(0.0, 0.5, int(active_NP.sum()))
        pieces.append(strength_NP @ features_PD)
    return np.concatenate(pieces)
