"""From trained weights to the published dictionary: scale folded, threshold calibrated, quality measured.

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
from thresher.dictionary.batch_topk import Weights
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.threshold import calibrate_threshold
from thresher.latents.encoder import SparseEncoder
from thresher.latents.reconstruction import ReconstructionAccumulator

BATCH_ROWS = 4096


def fold_scale(weights: Weights, scale: float) -> SparseEncoder:
    """The dictionary for inputs as harvested, from one trained on inputs times `scale`; threshold 0.

    With x' = s x, dividing both biases by s divides codes and reconstructions by s: W_enc and the unit-norm
    W_dec stay as they are.
    """
    return SparseEncoder(
        W_enc_DF=weights.W_enc_FD.detach().T.contiguous(),
        b_enc_F=weights.b_enc_F.detach() / scale,
        W_dec_FD=weights.W_dec_FD.detach().clone(),
        b_dec_D=weights.b_dec_D.detach() / scale,
        threshold_F=torch.zeros_like(weights.b_enc_F),
    )


def calibrate(
    encoder: SparseEncoder, site: DenseSite, harvest: HarvestManifest, spec: FitSpec
) -> SparseEncoder:
    """The encoder with its threshold, calibrated on a sample of training rows so that their mean L0 is k."""
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
        accumulator.add(x_BD, encoder.decode(codes), codes)
    return accumulator.metrics(encoder.W_dec_FD)


def _batches(
    site: DenseSite, rows: SplitRows, numbers_N: np.ndarray, encoder: SparseEncoder
) -> Iterator[torch.Tensor]:
    for start in range(0, len(numbers_N), BATCH_ROWS):
        harvest_rows = rows.to_harvest_rows(numbers_N[start : start + BATCH_ROWS])
        yield site.gather(harvest_rows).to(encoder.b_dec_D.device)
