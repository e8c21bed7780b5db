"""From a folded dictionary to the published one: threshold calibrated, quality measured.

Shape suffixes: B rows, D width of the activations, F latents.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from thresher.activations.dense_reader import DenseSite
from thresher.activations.shuffle import EndlessOrder
from thresher.activations.split_rows import SplitRows
from thresher.contracts.manifests import HarvestManifest, ReconstructionMetrics
from thresher.dictionary.architectures.spec import BatchTopKSpec, MatryoshkaSpec
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.threshold import calibrate_threshold
from thresher.latents.encoder import SparseEncoder
from thresher.latents.reconstruction import ReconstructionAccumulator

BATCH_ROWS = 4096


def calibrate(
    encoder: SparseEncoder, site: DenseSite, harvest: HarvestManifest, spec: FitSpec
) -> SparseEncoder:
    """The encoder with its threshold, which BatchTopK and Matryoshka have none of so far.

    It is calibrated on a sample of training rows so that their mean L0 is k.
    """
    if not isinstance(spec.architecture, BatchTopKSpec | MatryoshkaSpec):
        return encoder
    rows = SplitRows(harvest, spec.training.fit_split, spec.training.min_position)
    num_rows = min(len(rows), spec.training.calibration_rows)
    sample_N = EndlessOrder(len(rows), spec.training.seed).items(0, num_rows)
    batches = _batches(site, rows, sample_N, encoder)
    threshold = calibrate_threshold(encoder, batches, num_rows, spec.architecture.k)
    return replace(encoder, threshold_F=torch.full_like(encoder.threshold_F, threshold))


def evaluate(
    encoder: SparseEncoder, site: DenseSite, harvest: HarvestManifest, spec: FitSpec
) -> ReconstructionMetrics:
    """Quality over all rows of the held-out split."""
    rows = SplitRows(harvest, spec.training.holdout_split, spec.training.min_position)
    accumulator = ReconstructionAccumulator(encoder.d_in, encoder.num_latents)
    for x_BD in _batches(site, rows, np.arange(len(rows)), encoder):
        codes = encoder.encode(x_BD)
        accumulator.add(x_BD, encoder.decode(codes, x_BD), codes)
    return accumulator.metrics()


def _batches(
    site: DenseSite, rows: SplitRows, numbers_N: np.ndarray, encoder: SparseEncoder
) -> Iterator[torch.Tensor]:
    for start in range(0, len(numbers_N), BATCH_ROWS):
        harvest_rows = rows.to_harvest_rows(numbers_N[start : start + BATCH_ROWS])
        yield site.gather(harvest_rows).to(encoder.b_dec_E.device)
