"""Runs models as they are, with reconstructions, with zeros and with mean rows; sums up what each costs.

Shape suffixes: S sequences, B sequences of a batch, L tokens a sequence, E width of a site, N rows replaced,
V vocabulary.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from thresher.evaluation.splice.losses import cross_entropy, kl_divergence, log_probabilities
from thresher.evaluation.splice.reconstructor import Reconstructor
from thresher.evaluation.splice.row_sums import ReplacedRows, RowSums
from thresher.evaluation.splice.target import Place, Splice
from thresher.evaluation.splice.text import SplicedText
from thresher.latents.subject.spliced_model import Replace, SplicedModel
from thresher.runtime.progress import Meter, progress

MAX_LOGITS = (
    1 << 26
)  # of a batch: 256 MiB of float32, of which four are held at once, and one a further model
VARIANTS = ("spliced", "zero", "mean")

Replacements = Mapping[str, Mapping[Place, Replace]]
"""By variant, for every site that a dictionary reconstructs."""


@dataclass(frozen=True)
class SequenceSums:
    """Of every sequence with one splice, in nats, float64."""

    num_predictions: int
    """Of one sequence."""
    sums_S: Mapping[str, torch.Tensor]
    """ce_clean, and ce_ and kl_ of each variant."""
    rows: ReplacedRows
    """Of the rows that were replaced."""


@torch.inference_mode()
def measure(
    models: Sequence[SplicedModel],
    reconstructors: Sequence[Reconstructor],
    splices: Sequence[Splice],
    text: SplicedText,
    batch_tokens: int,
) -> list[SequenceSums]:
    """Of each splice. Two passes over the text: the first for the mean rows, the second for all variants."""
    length = text.token_ids_SL.shape[1]
    vocabulary = max(model.vocabulary for model in models)
    batch = max(1, min(batch_tokens, MAX_LOGITS // vocabulary) // length)
    pieces = list(
        zip(torch.split(text.token_ids_SL, batch), torch.split(text.is_spliced_SL, batch), strict=True)
    )
    passes = 2 * len(models) + len(VARIANTS) * len(splices)
    with progress("evaluate", passes * text.token_ids_SL.numel(), "tokens") as meter:
        rows = _observe(models, reconstructors, pieces, meter)
        means = {place: sums.mean_E for place, sums in rows.items()}
        batches = [
            _Batch(models, token_ids_BL, is_spliced_BL, meter).sums(reconstructors, splices, means)
            for token_ids_BL, is_spliced_BL in pieces
        ]
    return [
        SequenceSums(
            length - 1,
            {name: torch.cat([sums[index][name] for sums in batches]) for name in batches[0][index]},
            ReplacedRows.of_sites([rows[place] for place in splice.outputs]),
        )
        for index, splice in enumerate(splices)
    ]


def _observe(
    models: Sequence[SplicedModel],
    reconstructors: Sequence[Reconstructor],
    pieces: Iterable[tuple[torch.Tensor, torch.Tensor]],
    meter: Meter,
) -> dict[Place, RowSums]:
    """The rows to be replaced of each site, and how well they are reconstructed."""
    sums: dict[Place, RowSums] = {}
    for token_ids_BL, is_spliced_BL in pieces:
        rows = {}
        for index, model in enumerate(models):
            for site, y_BLE in model.rows(token_ids_BL).items():
                rows[Place(index, site)] = y_BLE[is_spliced_BL.to(y_BLE.device)]
            meter.advance(token_ids_BL.numel())
        for reconstructor in reconstructors:
            codes, y_hat = reconstructor.codes(rows)
            for place, y_hat_NE in y_hat.items():
                found = RowSums.of(rows[place], y_hat_NE, codes)
                sums[place] = sums[place].merged(found) if place in sums else found
    return sums


class _Batch:
    """Sequences that are run at once."""

    def __init__(
        self,
        models: Sequence[SplicedModel],
        token_ids_BL: torch.Tensor,
        is_spliced_BL: torch.Tensor,
        meter: Meter,
    ) -> None:
        self._models, self._meter = models, meter
        self._token_ids_BL, self._is_spliced_BL = token_ids_BL, is_spliced_BL

    def sums(
        self,
        reconstructors: Sequence[Reconstructor],
        splices: Sequence[Splice],
        means: Mapping[Place, torch.Tensor],
    ) -> list[dict[str, torch.Tensor]]:
        """Of each splice, every sum of each sequence."""
        log_p: list[torch.Tensor] = []
        rows: dict[Place, torch.Tensor] = {}
        for index, model in enumerate(self._models):
            logits_BLV, found = model.logits_and_rows(self._token_ids_BL)
            log_p.append(log_probabilities(logits_BLV))
            rows |= {Place(index, site): y_BLE for site, y_BLE in found.items()}
            self._meter.advance(self._token_ids_BL.numel())
        replacements: Replacements = {
            "spliced": _reconstructed(reconstructors, rows),
            "zero": dict.fromkeys(means, torch.zeros_like),
            "mean": {place: partial(_expanded, mean_E) for place, mean_E in means.items()},
        }
        return [self._sums(splice, log_p[splice.model], replacements) for splice in splices]

    def _sums(
        self, splice: Splice, log_p_BLV: torch.Tensor, replacements: Replacements
    ) -> dict[str, torch.Tensor]:
        sums = {"ce_clean": cross_entropy(log_p_BLV, self._token_ids_BL)}
        for name, replace in replacements.items():
            spliced = {
                place.site: partial(_only_at, self._is_spliced_BL, replace[place]) for place in splice.outputs
            }
            log_q_BLV = log_probabilities(self._models[splice.model].logits(self._token_ids_BL, spliced))
            sums[f"ce_{name}"] = cross_entropy(log_q_BLV, self._token_ids_BL)
            sums[f"kl_{name}"] = kl_divergence(log_p_BLV, log_q_BLV)
            self._meter.advance(self._token_ids_BL.numel())
        return sums


def _reconstructed(
    reconstructors: Sequence[Reconstructor], rows: Mapping[Place, torch.Tensor]
) -> dict[Place, Replace]:
    """What reads only the site it replaces takes its rows as they come; all else reads those of the models as they are.

    With several sites replaced at once, the rows of later ones are made from reconstructions already: together with
    rows of earlier sites as they are, they would be rows that no fit ever saw.
    """
    replacements: dict[Place, Replace] = {}
    for reconstructor in reconstructors:
        if reconstructor.group.reads_what_it_replaces:
            replacements[reconstructor.group.outputs[0]] = partial(_from_itself, reconstructor)
        else:
            for place, y_hat_BLE in reconstructor.reconstruct(rows).items():
                replacements[place] = partial(_given, y_hat_BLE)
    return replacements


def _from_itself(reconstructor: Reconstructor, y_BLE: torch.Tensor) -> torch.Tensor:
    (place,) = reconstructor.group.outputs
    return reconstructor.reconstruct({place: y_BLE})[place]


def _given(y_hat_BLE: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return y_hat_BLE


def _expanded(mean_E: torch.Tensor, y_BLE: torch.Tensor) -> torch.Tensor:
    return mean_E.to(y_BLE.device).expand_as(y_BLE)


def _only_at(is_spliced_BL: torch.Tensor, replace: Replace, y_BLE: torch.Tensor) -> torch.Tensor:
    return torch.where(is_spliced_BL[..., None].to(y_BLE.device), replace(y_BLE), y_BLE)
