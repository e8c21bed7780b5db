"""Runs the model as it is, with the reconstruction, with zeros and with the mean row; sums up what each costs.

Shape suffixes: S sequences, B sequences of a batch, L tokens a sequence, D width of the site read, E of the site
replaced, N rows replaced, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch

from thresher.contracts.manifests import ReconstructionMetrics
from thresher.evaluation.splice.losses import cross_entropy, kl_divergence, log_probabilities
from thresher.evaluation.splice.spliced_model import Replace, SplicedModel
from thresher.evaluation.splice.text import SplicedText
from thresher.latents.encoder import SparseEncoder
from thresher.latents.reconstruction import ReconstructionAccumulator
from thresher.runtime.progress import Meter, progress

MAX_LOGITS = 1 << 26  # of a batch: 256 MiB of float32, of which four are held at once
VARIANTS = ("spliced", "zero", "mean")


@dataclass(frozen=True)
class SequenceSums:
    """Of every sequence, in nats, float64."""

    num_predictions: int
    """Of one sequence."""
    sums_S: Mapping[str, torch.Tensor]
    """ce_clean, and ce_ and kl_ of each variant."""
    rows: ReconstructionMetrics
    """Of the rows that were replaced."""


@torch.inference_mode()
def measure(
    model: SplicedModel, encoder: SparseEncoder, text: SplicedText, batch_tokens: int
) -> SequenceSums:
    """Two passes over the text: the first for the mean row, the second four forward passes a batch."""
    length = text.token_ids_SL.shape[1]
    batch = max(1, min(batch_tokens, MAX_LOGITS // model.vocabulary) // length)
    pieces = list(
        zip(torch.split(text.token_ids_SL, batch), torch.split(text.is_spliced_SL, batch), strict=True)
    )
    with progress("evaluate", (2 + len(VARIANTS)) * text.token_ids_SL.numel(), "tokens") as meter:
        mean_E, rows = _observe(model, encoder, pieces, meter)
        replacements = {
            "spliced": lambda x_BLD, _: encoder.reconstruct(x_BLD.flatten(0, 1)).view(*x_BLD.shape[:2], -1),
            "zero": lambda _, y_BLE: torch.zeros_like(y_BLE),
            "mean": lambda _, y_BLE: mean_E.expand_as(y_BLE),
        }
        sums = [
            _sums_of_batch(model, replacements, token_ids_BL, is_spliced_BL, meter)
            for token_ids_BL, is_spliced_BL in pieces
        ]
    return SequenceSums(
        length - 1, {name: torch.cat([part[name] for part in sums]) for name in sums[0]}, rows
    )


def _keep(seen: list[torch.Tensor], x_BLD: torch.Tensor, y_BLE: torch.Tensor) -> None:
    seen.extend((x_BLD, y_BLE))


def _observe(
    model: SplicedModel,
    encoder: SparseEncoder,
    pieces: list[tuple[torch.Tensor, torch.Tensor]],
    meter: Meter,
) -> tuple[torch.Tensor, ReconstructionMetrics]:
    """The mean of the rows to be replaced, and how well they are reconstructed."""
    accumulator: ReconstructionAccumulator | None = None
    total_E, num_rows = torch.zeros(()), 0
    for token_ids_BL, is_spliced_BL in pieces:
        seen: list[torch.Tensor] = []
        model.observe(token_ids_BL, partial(_keep, seen))
        x_ND, y_NE = (rows[is_spliced_BL.to(rows.device)] for rows in seen)
        accumulator = accumulator or ReconstructionAccumulator(y_NE.shape[1], encoder.num_latents)
        codes = encoder.encode(x_ND)
        accumulator.add(y_NE, encoder.decode(codes, x_ND), codes)
        total_E, num_rows = total_E + y_NE.double().sum(dim=0), num_rows + len(y_NE)
        meter.advance(token_ids_BL.numel())
    assert accumulator is not None, "there is text"
    return (total_E / num_rows).float(), accumulator.metrics()


def _sums_of_batch(
    model: SplicedModel,
    replacements: Mapping[str, Replace],
    token_ids_BL: torch.Tensor,
    is_spliced_BL: torch.Tensor,
    meter: Meter,
) -> dict[str, torch.Tensor]:
    log_p_BLV = log_probabilities(model.logits(token_ids_BL))
    sums = {"ce_clean": cross_entropy(log_p_BLV, token_ids_BL)}
    meter.advance(token_ids_BL.numel())
    for name, replace in replacements.items():
        log_q_BLV = log_probabilities(model.logits(token_ids_BL, _only_at(is_spliced_BL, replace)))
        sums[f"ce_{name}"] = cross_entropy(log_q_BLV, token_ids_BL)
        sums[f"kl_{name}"] = kl_divergence(log_p_BLV, log_q_BLV)
        meter.advance(token_ids_BL.numel())
    return sums


def _only_at(is_spliced_BL: torch.Tensor, replace: Replace) -> Replace:
    def at(x_BLD: torch.Tensor, y_BLE: torch.Tensor) -> torch.Tensor:
        return torch.where(is_spliced_BL[..., None].to(y_BLE.device), replace(x_BLD, y_BLE), y_BLE)

    return at
