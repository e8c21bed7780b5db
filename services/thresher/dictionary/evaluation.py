"""From trained weights to the published dictionary: scale folded, threshold calibrated, quality measured.

Shape suffixes: B rows, D width of the activations, F latents.
"""

from dataclasses import replace

import torch

from thresher.activations.loader import read_batches
from thresher.activations.shuffle import StoredOrder
from thresher.contracts.manifests import ReconstructionMetrics
from thresher.dictionary.batch_topk import Weights
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.target_rows import TargetRows
from thresher.dictionary.threshold import calibrate_threshold
from thresher.latents.encoder import SparseEncoder
from thresher.latents.reconstruction import ReconstructionAccumulator


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


def calibrate(encoder: SparseEncoder, rows: TargetRows, spec: FitSpec) -> SparseEncoder:
    """The encoder with its threshold, calibrated on a sample of training rows so that their mean L0 is k."""
    num_rows = min(len(rows.fit), spec.training.calibration_rows)
    batches = (
        pairs.x_BD.to(encoder.b_dec_D.device) for pairs in read_batches(rows.fit, rows.order, num_rows)
    )
    threshold = calibrate_threshold(encoder, batches, num_rows, spec.architecture.k)
    return replace(encoder, threshold_F=torch.full_like(encoder.threshold_F, threshold))


def evaluate(encoder: SparseEncoder, rows: TargetRows) -> ReconstructionMetrics:
    """Quality over all held-out rows; of a mixture, those of every harvest, each row once."""
    accumulator = ReconstructionAccumulator(encoder.d_in, encoder.num_latents)
    num_rows = len(rows.holdout)
    for pairs in read_batches(rows.holdout, StoredOrder(num_rows), num_rows):
        codes = encoder.encode(pairs.x_BD.to(encoder.b_dec_D.device))
        accumulator.add(pairs.y_BE, encoder.decode(codes), codes)
    return accumulator.metrics()
