"""Where training starts: how rows are mapped, and the weights that every architecture has.

Shape suffixes: N sampled rows, D width of the input, E width of the output, F latents.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

from thresher.activations.row_pairs import RowPairs
from thresher.contracts.errors import SpecError
from thresher.dictionary.architectures.decoder_norms import normalise
from thresher.dictionary.architectures.objective import Weights
from thresher.dictionary.architectures.spec import DictionarySpec
from thresher.dictionary.target.pair_layout import PairLayout
from thresher.dictionary.training.row_map import RowMap, scaling, whitening

MEDIAN_MAX_ITERATIONS = 100
MEDIAN_TOLERANCE = 1e-6
DATA_NOISE = 0.2
"""Norm of what is added to unit directions of data rows: latents that begin from one row differ."""


@dataclass(frozen=True)
class RowMaps:
    """How the two rows of a pair are mapped before training; one map where they are the same row."""

    input: RowMap
    output: RowMap

    def apply(self, batch: RowPairs) -> RowPairs:
        x_BD = self.input.apply(batch.x_BD)
        return RowPairs(x_BD, x_BD if batch.y_BE is batch.x_BD else self.output.apply(batch.y_BE))


def row_maps(sample: RowPairs, layout: PairLayout, *, whiten_input: bool) -> RowMaps:
    """Maps of a sample of pairs, as harvested.

    Raises:
        SpecError: rows are not finite or all zero, or crosscoder inputs should be whitened.
    """
    check_rows_vary(sample.x_BD)
    check_rows_vary(sample.y_BE)
    if whiten_input and len(layout.input_widths) > 1:
        raise SpecError(
            "architecture.whiten_input",
            True,
            allowed=[False],
            mend="Whitening would mix the sites of a crosscoder: leave it out.",
        )
    input_map = whitening(sample.x_BD) if whiten_input else scaling(sample.x_BD, layout.input_widths)
    if layout.reconstructs_input:
        return RowMaps(input_map, input_map)
    return RowMaps(input_map, scaling(sample.y_BE, layout.output_widths))


def check_rows_vary(x_ND: torch.Tensor) -> float:
    """Mean squared distance of a row from the mean row; SpecError if the rows are all alike or not finite."""
    x_ND = x_ND.double()
    variance = float((x_ND - x_ND.mean(dim=0)).square().sum(dim=1).mean())
    if not 0 < variance < float("inf"):
        raise SpecError(
            "site", f"variance {variance}", mend="Rows of this site do not vary or are not finite."
        )
    return variance


def centre(x_ND: torch.Tensor, kind: Literal["geometric_median", "mean", "zero"]) -> torch.Tensor:
    """centre_D of rows, float32."""
    match kind:
        case "geometric_median":
            return geometric_median(x_ND.double()).float()
        case "mean":
            return x_ND.double().mean(dim=0).float()
        case "zero":
            return torch.zeros(x_ND.shape[1])


def geometric_median(x_ND: torch.Tensor) -> torch.Tensor:
    """The point with the least summed distance to all rows, by Weiszfeld's iteration (Weiszfeld 1937)."""
    median_D = x_ND.mean(dim=0)
    spread = float((x_ND - median_D).norm(dim=1).mean())
    for _ in range(MEDIAN_MAX_ITERATIONS):
        weights_N = 1 / (x_ND - median_D).norm(dim=1).clamp(min=1e-12 * spread)
        moved_D = weights_N @ x_ND / weights_N.sum()
        shift = float((moved_D - median_D).norm())
        median_D = moved_D
        if shift <= MEDIAN_TOLERANCE * spread:
            break
    return median_D


def initial_weights(spec: DictionarySpec, layout: PairLayout, sample: RowPairs, seed: int) -> Weights:
    """Decoder rows of norm 1, and the encoder that reads them: z is the code along a row (Gao et al. 2024, A.1).

    A transcoder's encoder rows have norm 1, too. Where b_dec is not taken from inputs, b_enc begins as what centres
    them: z is then that of centred inputs everywhere. A skip connection begins at 0 (Paulo et al. 2025).

    Args:
        spec: says how to begin.
        layout: of the pairs.
        sample: pairs, mapped as they are trained on.
        seed: decides the directions.
    """
    generator = torch.Generator().manual_seed(seed)
    centre_D, b_dec_E = centre(sample.x_BD, spec.initial_bias), centre(sample.y_BE, spec.initial_bias)
    from_data = (spec.initial_decoder or ("random" if layout.reconstructs_input else "data")) == "data"
    rows_N = _drawn_rows(spec.num_latents, len(sample.y_BE), generator) if from_data else None
    W_dec_FE = _directions(sample.y_BE - b_dec_E, rows_N, spec.num_latents, generator)
    normalise(W_dec_FE, layout.output_widths)
    if layout.reconstructs_input:
        W_enc_FD = W_dec_FE / W_dec_FE.square().sum(dim=1, keepdim=True)
    else:
        W_enc_FD = _directions(sample.x_BD - centre_D, rows_N, spec.num_latents, generator)
    weights = {
        "W_enc": W_enc_FD,
        "b_enc": torch.zeros(spec.num_latents) if layout.centres_input else -W_enc_FD @ centre_D,
        "W_dec": W_dec_FE,
        "b_dec": b_dec_E,
    }
    return {**weights, "W_skip": torch.zeros(layout.d_out, layout.d_in)} if layout.skip else weights


def _drawn_rows(num_latents: int, num_rows: int, generator: torch.Generator) -> torch.Tensor:
    """rows_N: every sampled row as often as any other, give or take one."""
    rounds = -(-num_latents // num_rows)
    return torch.cat([torch.randperm(num_rows, generator=generator) for _ in range(rounds)])[:num_latents]


def _directions(
    x_ND: torch.Tensor, rows_N: torch.Tensor | None, num_latents: int, generator: torch.Generator
) -> torch.Tensor:
    """Unit rows, at random or close to the directions of some sampled rows."""
    noise_FD = functional.normalize(torch.randn(num_latents, x_ND.shape[1], generator=generator), dim=1)
    if rows_N is None:
        return noise_FD
    return functional.normalize(functional.normalize(x_ND[rows_N], dim=1) + DATA_NOISE * noise_FD, dim=1)
