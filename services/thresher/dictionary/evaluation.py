"""From a folded dictionary to the published one: threshold calibrated, quality measured.

Shape suffixes: B rows, D width of the activations, F latents.
"""

from dataclasses import replace

import torch

from thresher.activations.loader import read_batches
from thresher.activations.shuffle import StoredOrder
from thresher.contracts.manifests import ReconstructionMetrics
from thresher.dictionary.architectures.spec import BatchTopKSpec, MatryoshkaSpec
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.target_rows import TargetRows
from thresher.dictionary.threshold import calibrate_threshold
from thresher.latents.encoder import SparseEncoder
from thresher.latents.reconstruction import ReconstructionAccumulator


def calibrate(encoder: SparseEncoder, rows: TargetRows, spec: FitSpec) -> SparseEncoder:
    """The encoder with its threshold, which BatchTopK and Matryoshka have none of so far.

    It is calibrated on a sample of training rows so that their mean L0 is k.
    """
    if not isinstance(spec.architecture, BatchTopKSpec | MatryoshkaSpec):
        return encoder
    num_rows = min(len(rows.fit), spec.training.calibration_rows)
    batches = (
        pairs.x_BD.to(encoder.b_dec_E.device) for pairs in read_batches(rows.fit, rows.order, num_rows)
    )
    threshold = calibrate_threshold(encoder, batches, num_rows, spec.architecture.k)
    return replace(encoder, threshold_F=torch.full_like(encoder.threshold_F, threshold))


def evaluate(encoder: SparseEncoder, rows: TargetRows) -> ReconstructionMetrics:
    """Quality over all held-out rows; of a mixture, those of every harvest, each row once."""
    accumulator = ReconstructionAccumulator(encoder.d_out, encoder.num_latents)
    num_rows = len(rows.holdout)
    for pairs in read_batches(rows.holdout, StoredOrder(num_rows), num_rows):
        x_BD = pairs.x_BD.to(encoder.b_dec_E.device)
        codes = encoder.encode(x_BD)
        accumulator.add(pairs.y_BE, encoder.decode(codes, x_BD), codes)
    return accumulator.metrics()
