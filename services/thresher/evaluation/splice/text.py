"""The text that is predicted, and the positions whose rows are replaced.

Shape suffixes: S sequences drawn, L tokens a sequence.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from thresher.activations.row_selection import RowSelector
from thresher.activations.sequences import open_sequences
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import DictionaryManifest, HarvestManifest
from thresher.evaluation.splice.spec import EvaluateSpec
from thresher.storage import ObjectStore


@dataclass(frozen=True)
class SplicedText:
    """Sequences in ascending order."""

    corpus_id: str
    token_ids_SL: torch.Tensor
    """int64."""
    is_spliced_SL: torch.Tensor
    """bool: positions whose rows are replaced; the others keep theirs."""


def draw_text(
    store: ObjectStore, spec: EvaluateSpec, harvest: HarvestManifest, dictionary: DictionaryManifest
) -> SplicedText:
    """Draw sequences of the split. Spliced are the positions whose rows a fit takes from such a harvest.

    Raises:
        SpecError: the corpus is of another tokenizer, or has nothing of the split, or no position is spliced.
        MissingArtifactError: there is no such corpus.
    """
    assert harvest.model is not None, "checked before"
    corpus = open_sequences(store, spec.corpus or str(harvest.corpus_id))
    length = corpus.manifest.sequence_length
    sizes = {item.split: item.stop - item.start for item in corpus.manifest.splits}
    if spec.corpus is not None and corpus.manifest.tokenizer_sha256 != harvest.model.tokenizer_sha256:
        raise SpecError("corpus", spec.corpus, mend="It was made with another tokenizer than the model's.")
    if not sizes.get(spec.split):
        allowed = sorted(name for name, size in sizes.items() if size)
        raise SpecError("split", spec.split, allowed=allowed, mend="The corpus has nothing of it.")
    drawn = np.random.default_rng(spec.seed).permutation(sizes[spec.split])[: -(-spec.num_tokens // length)]
    chosen = np.sort(corpus.manifest.split(spec.split).start + drawn).tolist()
    selector = RowSelector(harvest.selection, corpus.manifest)
    is_spliced_SL = np.concatenate([selector.mask(corpus, item, item + 1) for item in chosen])
    is_spliced_SL[:, : _min_position(harvest, dictionary, length)] = False
    if not is_spliced_SL.any():
        raise SpecError(
            "num_tokens", spec.num_tokens, mend="No position drawn is one that was fitted on: draw more."
        )
    token_ids_SL: npt.NDArray[np.int64] = np.concatenate(
        [corpus.token_ids(item, item + 1) for item in chosen]
    ).astype(np.int64)
    return SplicedText(
        corpus.manifest.corpus_id, torch.from_numpy(token_ids_SL), torch.from_numpy(is_spliced_SL)
    )


def _min_position(harvest: HarvestManifest, dictionary: DictionaryManifest, length: int) -> int:
    """First position that the fit took, by the rule of activations/split_rows.py."""
    if not harvest.selection.keeps_all:
        return 0
    given = dictionary.spec.get("training", {}).get("min_position")
    return (1 if length > 1 else 0) if given is None else int(given)
