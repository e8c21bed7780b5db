"""How large codes are to begin with.

Shape suffixes: N sampled rows, D width of the input, E width of the output, F latents.
"""

import torch

from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.architectures.objective import Objective, Weights
from thresher.dictionary.evaluation import calibrated
from thresher.dictionary.folding import fold
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.training.row_map import RowMap

SCALE_ROWS = 1024
RANKED_SHARE = 0.1
"""Of the factor that reconstructs best."""
ENCODER = ("W_enc", "b_enc")


@torch.no_grad()
def with_initial_scale(spec: FitSpec, objective: Objective, weights: Weights, sample: RowPairs) -> Weights:
    """Weights whose encoder reconstructs sampled rows best, or is a tenth of that where the largest codes are active.

    Directions at random overlap: a row's active latents, each with the code that it would need alone, together write
    too much, and FVU would begin above 1. The factor of least squares is <y', y> / <y', y'>, with y' what the codes add
    to b_dec. Adam's steps are of one size, so short rows turn sooner, and where only the order of codes counts nothing
    else hangs on their size; penalties and thresholds are in units of the codes.

    Args:
        spec: of the fit.
        objective: of its architecture.
        weights: that all architectures share.
        sample: pairs, mapped as they are trained on.
    """
    rows = RowPairs(sample.x_BD[:SCALE_ROWS], sample.y_BE[:SCALE_ROWS])
    start = objective.initial(weights, sample)
    unmapped = [
        RowMap(torch.zeros(width), torch.ones(width)) for width in (rows.x_BD.shape[1], rows.y_BE.shape[1])
    ]
    encoder = calibrated(fold(objective, start, *unmapped), spec, [rows.x_BD], len(rows.x_BD))
    decoded_NE = (encoder.decode(encoder.encode(rows.x_BD), rows.x_BD) - encoder.b_dec_E).double()
    power = float(decoded_NE.square().sum())
    if not power:
        return start
    share = RANKED_SHARE if objective.ranks_latents else 1.0
    factor = share * float((decoded_NE * (rows.y_BE - encoder.b_dec_E)).sum()) / power
    if factor <= 0:
        return start
    scaled = {name: weight * factor if name in ENCODER else weight for name, weight in weights.items()}
    return objective.initial(scaled, sample)
