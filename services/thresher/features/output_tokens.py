"""What each feature does to the model's output: a table of tokens.

Shapes: F latents, E width of a decoder row, V vocabulary, K tokens of a feature and kind, N contexts, C tokens.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from thresher.contracts.errors import SpecError
from thresher.contracts.exemplars import OUTPUT_TOKEN_KINDS, OutputTokenKind
from thresher.contracts.manifests import DictionaryManifest, HarvestManifest
from thresher.contracts.schemas import OUTPUT_TOKENS
from thresher.contracts.sites import Site
from thresher.features.spec import OutputOptions, SteeringOptions
from thresher.features.steering import token_changes
from thresher.features.token_strings import TokenStrings
from thresher.latents.subject.spliced_model import SplicedModel
from thresher.latents.subject.unembedding import Unembedding, extremes, load_unembedding
from thresher.runtime.model_identity import check_same_model

BLOCK_LATENTS = 256
STREAM_KINDS = ("resid_pre", "resid_mid", "resid_post", "mlp_out", "attn_out")
"""Sites whose rows are, or are added to, the residual stream."""

TokenRows = npt.NDArray[np.void]
TOKEN_ROW = np.dtype(
    [
        ("feature", np.int32),
        ("kind", np.int32),  # index into OUTPUT_TOKEN_KINDS
        ("rank", np.int32),
        ("token_id", np.int32),
        ("value", np.float32),
    ]
)


class OutputSide:
    """Computes the table; opened before anything is computed, so that what is wrong shows at once.

    Raises:
        SpecError: no model is given, or another than the harvest's, or one whose unembedding is not known.
    """

    def __init__(
        self,
        options: OutputOptions,
        folder: str | None,
        harvest: HarvestManifest,
        dictionary: DictionaryManifest,
    ) -> None:
        if folder is None:
            raise SpecError("model", None, mend="Give the harvested model's folder, or set output to null.")
        assert harvest.model is not None, "sparse harvests are made by an engine"
        check_same_model("model", harvest.model, folder)
        self._options, self._folder, self._family = options, Path(folder), harvest.spec.get("family")
        [site] = harvest.sites
        target = dictionary.target
        self._site = target.outputs[0].site if target.kind == "transcoder" else site
        # A row of another site goes through weights of the layer before it meets the stream.
        in_stream = Site.parse(self._site).kind in STREAM_KINDS
        self._unembedding = load_unembedding(folder) if in_stream else None

    def table(
        self,
        W_dec_FE: torch.Tensor,
        largest_F: npt.NDArray[np.float32],
        contexts_NC: npt.NDArray[np.int32],
        token_strings: TokenStrings,
    ) -> pa.Table:
        """Schema OUTPUT_TOKENS, sorted by (feature, kind, rank).

        Args:
            largest_F: the largest activation of each latent; those that never fire are not steered.
            contexts_NC: tokens of windows to steer in.
        """
        parts = [np.zeros(0, TOKEN_ROW)]
        if self._unembedding is not None:
            parts.append(unembedded_tokens(W_dec_FE, self._unembedding, self._options.num_tokens))
        if self._options.steering is not None:
            parts.append(self._steered(self._options.steering, W_dec_FE, largest_F, contexts_NC))
        return output_token_table(parts, token_strings)

    def _steered(
        self,
        steering: SteeringOptions,
        W_dec_FE: torch.Tensor,
        largest_F: npt.NDArray[np.float32],
        contexts_NC: npt.NDArray[np.int32],
    ) -> TokenRows:
        alive = np.flatnonzero(largest_F > 0)
        if steering.features is not None:
            alive = np.intersect1d(alive, steering.features)
        added_BE = W_dec_FE[alive] * torch.from_numpy(largest_F[alive])[:, None] * steering.strength
        model = SplicedModel(self._folder, [self._site], family=self._family)
        contexts = torch.from_numpy(contexts_NC[: steering.num_contexts].astype(np.int64))
        parts = [np.zeros(0, TOKEN_ROW)]
        for features, change_BV in token_changes(model, self._site, contexts, alive.tolist(), added_BE):
            found = extremes(change_BV, self._options.num_tokens)
            parts.append(_rows(np.array(features, np.int32), ("steered_up", "steered_down"), found))
        return np.concatenate(parts)


def unembedded_tokens(W_dec_FE: torch.Tensor, unembedding: Unembedding, count: int) -> TokenRows:
    """Tokens that each decoder row promotes and suppresses most, a block of latents at a time."""
    parts = []
    for first in range(0, len(W_dec_FE), BLOCK_LATENTS):
        found = unembedding.extreme_tokens(W_dec_FE[first : first + BLOCK_LATENTS], count)
        features = np.arange(first, first + len(found[0]), dtype=np.int32)
        parts.append(_rows(features, ("promoted", "suppressed"), found))
    return np.concatenate(parts)


def output_token_table(parts: Sequence[TokenRows], token_strings: TokenStrings) -> pa.Table:
    """Schema OUTPUT_TOKENS, sorted by (feature, kind, rank)."""
    rows = np.concatenate(parts)
    rows = rows[np.lexsort((rows["rank"], rows["kind"], rows["feature"]))]
    strings = token_strings.table(np.unique(rows["token_id"]))
    columns = {
        "feature": rows["feature"],
        "kind": pa.array(OUTPUT_TOKEN_KINDS).take(rows["kind"]),
        "rank": rows["rank"],
        "token_id": rows["token_id"],
        "token": strings.take(rows["token_id"]),
        "value": rows["value"],
    }
    return pa.table(columns, schema=OUTPUT_TOKENS)


def _rows(
    features: npt.NDArray[np.int32], kinds: Sequence[OutputTokenKind], found: Sequence[torch.Tensor]
) -> TokenRows:
    """Of tokens and values of the first kind, then of the second, each [B, K]."""
    parts = []
    for index, kind in enumerate(kinds):
        token_ids, values = found[2 * index].numpy(), found[2 * index + 1].numpy()
        rows = np.zeros(token_ids.shape, TOKEN_ROW)
        rows["feature"], rows["kind"] = features[:, None], OUTPUT_TOKEN_KINDS.index(kind)
        rows["rank"], rows["token_id"], rows["value"] = np.arange(token_ids.shape[1]), token_ids, values
        parts.append(rows.ravel())
    return np.concatenate(parts)
