"""From a folded dictionary to the published one: threshold calibrated, quality measured.

Shape suffixes: B rows, D width of the activations, F latents.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch

from thresher.activations.loader import read_batches
from thresher.activations.row_source import RowSource
from thresher.activations.shuffle import StoredOrder
from thresher.contracts.manifests import ReconstructionMetrics
from thresher.dictionary.architectures.spec import BatchTopKSpec, MatryoshkaSpec
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.target.rows import TargetRows
from thresher.dictionary.threshold import calibrate_threshold
from thresher.latents.encoder import SparseEncoder
from thresher.latents.reconstruction import ReconstructionAccumulator


def calibrate(encoder: SparseEncoder, rows: TargetRows, spec: FitSpec) -> SparseEncoder:
    """The encoder with its threshold, calibrated on a sample of training rows."""
    num_rows = min(len(rows.fit), spec.training.calibration_rows)
    batches = (
        pairs.x_BD.to(encoder.b_dec_E.device) for pairs in read_batches(rows.fit, rows.order, num_rows)
    )
    return calibrated(encoder, spec, batches, num_rows)


def calibrated(
    encoder: SparseEncoder, spec: FitSpec, batches: Iterable[torch.Tensor], num_rows: int
) -> SparseEncoder:
    """The encoder with the threshold at which the mean L0 of these rows is k.

    Of other architectures than BatchTopK and Matryoshka, the encoder as it is.
    """
    if not isinstance(spec.architecture, BatchTopKSpec | MatryoshkaSpec):
        return encoder
    threshold = calibrate_threshold(encoder, batches, num_rows, spec.architecture.k)
    return replace(encoder, threshold_F=torch.full_like(encoder.threshold_F, threshold))


def evaluate(
    encoder: SparseEncoder, holdout: RowSource, site_widths: Mapping[str, int]
) -> ReconstructionMetrics:
    """Quality over all held-out rows; of a mixture, those of every harvest, each row once.

    Args:
        encoder: for these rows.
        holdout: the rows.
        site_widths: columns of each site, in order, where several lie side by side; else empty.
    """
    accumulator = ReconstructionAccumulator(encoder.d_out, encoder.num_latents, site_widths)
    num_rows = len(holdout)
    for pairs in read_batches(holdout, StoredOrder(num_rows), num_rows):
        x_BD = pairs.x_BD.to(encoder.b_dec_E.device)
        codes = encoder.encode(x_BD)
        accumulator.add(pairs.y_BE, encoder.decode(codes, x_BD), codes)
    return accumulator.metrics(encoder.W_dec_FE)
