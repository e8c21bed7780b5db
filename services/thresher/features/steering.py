"""Which tokens become likelier, and which less likely, when a feature is added to the residual stream.

The feature's decoder row times its largest activation times a strength is added at the site, at every position but the
first; measured is the change of the next token's log-probability behind the last position, averaged over contexts.
Source: Gur-Arieh et al., Enhancing automated interpretability with output-centric feature descriptions (2025),
section 3, there called TokenChange.

Shapes: N contexts, C tokens of a context, V vocabulary, B features of a batch, E width of the site.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch

from thresher.latents.subject.spliced_model import SplicedModel

MAX_LOGITS = 1 << 25
"""Of a forward pass: 128 MiB of float32."""


def token_changes(
    model: SplicedModel,
    site: str,
    token_ids_NC: torch.Tensor,
    features: Sequence[int],
    directions_BE: torch.Tensor,
) -> Iterator[tuple[Sequence[int], torch.Tensor]]:
    """Batches of features, each with its mean changes of log-probability [B, V].

    `directions_BE` are what is added for each of `features`.
    """
    num_contexts, length = token_ids_NC.shape
    clean_NV = _next_token_log_probabilities(model, token_ids_NC)
    batch = max(1, MAX_LOGITS // (num_contexts * length * model.vocabulary))
    for first in range(0, len(features), batch):
        added_BE = directions_BE[first : first + batch]
        repeated = added_BE.repeat_interleave(num_contexts, dim=0)
        steered = _next_token_log_probabilities(
            model, token_ids_NC.repeat(len(added_BE), 1), {site: partial(_add_behind_first, repeated)}
        )
        change_BNV = steered.view(len(added_BE), num_contexts, -1) - clean_NV
        yield features[first : first + batch], change_BNV.mean(dim=1)


def _add_behind_first(added_BE: torch.Tensor, y_BLE: torch.Tensor) -> torch.Tensor:
    """The first position is an attention sink: what is added there acts otherwise than anywhere else."""
    steered_BLE = y_BLE.clone()
    steered_BLE[:, 1:] += added_BE[:, None].to(y_BLE)
    return steered_BLE


def _next_token_log_probabilities(
    model: SplicedModel,
    token_ids: torch.Tensor,
    replacements: dict[str, "partial[torch.Tensor]"] | None = None,
) -> torch.Tensor:
    return model.logits(token_ids, replacements)[:, -1].log_softmax(dim=-1).cpu()
