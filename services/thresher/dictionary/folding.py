"""From trained weights to the dictionary of inference, for rows as harvested: decoder norms and row maps folded in.

Shape suffixes: D width of the input, E width of the output, F latents.
"""

import torch

from thresher.dictionary.architectures.decoder_norms import SMALLEST_NORM, decoder_norms
from thresher.dictionary.architectures.objective import Objective, Weights
from thresher.dictionary.target.pair_layout import PairLayout
from thresher.dictionary.training.row_map import RowMap
from thresher.latents.encoder import SparseEncoder


@torch.no_grad()
def fold(objective: Objective, weights: Weights, input_map: RowMap, output_map: RowMap) -> SparseEncoder:
    """The dictionary for rows as harvested; its threshold is still 0 for BatchTopK and Matryoshka.

    It reconstructs what the trained one does. Codes are in units of their decoder rows, whose norms become 1 (of a
    crosscoder: the sum of a row's sites). Where the largest codes are the active ones, they are those that training
    compared, times one factor for all latents: norms become 1 on average.

    Args:
        objective: of the architecture.
        weights: as trained.
        input_map: that inputs were mapped by.
        output_map: that outputs were mapped by.
    """
    layout, input_map, output_map = objective.problem.layout, input_map.double(), output_map.double()
    W_enc_FD, b_enc_F, threshold_F = (tensor.double() for tensor in objective.jump_relu_form(weights))
    W_dec_FE = output_map.writes(weights["W_dec"].double())
    W_enc_FD = input_map.reads(W_enc_FD)
    b_dec_E = output_map.writes(weights["b_dec"].double().unsqueeze(0)).squeeze(0) + output_map.mean_D
    W_skip_ED = _folded_skip(weights, layout, input_map, output_map)
    if not layout.centres_input:
        b_enc_F = b_enc_F - W_enc_FD @ input_map.mean_D
    if W_skip_ED is not None:
        b_dec_E = b_dec_E - W_skip_ED @ input_map.mean_D
    norms_F = decoder_norms(W_dec_FE, layout.output_widths)
    if objective.ranks_latents:
        trained_norms_F = objective.norms(weights).double()
        norms_F = trained_norms_F * (norms_F / trained_norms_F.clamp(min=SMALLEST_NORM)).mean()
    norms_F = torch.where(norms_F > SMALLEST_NORM, norms_F, torch.ones_like(norms_F))
    return SparseEncoder(
        W_enc_DF=(W_enc_FD * norms_F.unsqueeze(1)).T.float().contiguous(),
        b_enc_F=(b_enc_F * norms_F).float(),
        W_dec_FE=(W_dec_FE / norms_F.unsqueeze(1)).float(),
        b_dec_E=b_dec_E.float(),
        threshold_F=(threshold_F * norms_F).float(),
        k=objective.row_k,
        W_skip_DE=None if W_skip_ED is None else W_skip_ED.T.float().contiguous(),
        centres_input=layout.centres_input,
    )


def _folded_skip(
    weights: Weights, layout: PairLayout, input_map: RowMap, output_map: RowMap
) -> torch.Tensor | None:
    if not layout.skip:
        return None
    return input_map.reads(output_map.writes(weights["W_skip"].double().T).T)
