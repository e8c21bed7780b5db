"""Exemplars of features, read back from the features artifact.

Shapes: C tokens of a context.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from thresher.contracts.errors import IntegrityError
from thresher.contracts.exemplars import EXEMPLAR_SPLITS, ExemplarKind, ExemplarSplit
from thresher.contracts.ids import canonical_json, sha256_hex
from thresher.contracts.manifests import FeaturesManifest
from thresher.storage import ObjectStore
from thresher.storage.read_file import open_input

COLUMNS = [
    "feature",
    "split",
    "kind",
    "rank",
    "quantile",
    "doc_id",
    "sequence",
    "start",
    "tokens",
    "activations",
]


@dataclass(frozen=True)
class Exemplar:
    """A short run of tokens of one document, with a feature's activation on each."""

    kind: ExemplarKind
    rank: int
    quantile: int | None
    doc_id: str
    sequence: int
    start: int
    tokens: tuple[str, ...]
    activations_C: npt.NDArray[np.float32]

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    def crop(self, num_tokens: int, seed: int) -> "Exemplar":
        """At most `num_tokens` tokens with the peak among them.

        Where the peak falls is drawn from the seed and the exemplar's place: were it always in the middle, its
        position would give the activation away.
        """
        spare = len(self.tokens) - num_tokens
        if spare <= 0:
            return self
        peak = int(np.argmax(self.activations_C))
        first, last = max(0, peak - num_tokens + 1), min(peak, spare)
        offset = int(np.random.default_rng([seed, self.sequence, self.start]).integers(first, last + 1))
        stop = offset + num_tokens
        return replace(
            self,
            start=self.start + offset,
            tokens=self.tokens[offset:stop],
            activations_C=self.activations_C[offset:stop],
        )


class ExemplarBook:
    """The exemplars of some features, by feature and split.

    Raises:
        IntegrityError: a document of theirs lies in two splits.
    """

    def __init__(self, store: ObjectStore, manifest: FeaturesManifest, features: Iterable[int]) -> None:
        wanted = pa.array(sorted(set(features)), pa.int32())
        tables = [_read_part(store, entry.key, wanted) for entry in manifest.exemplars]
        self._table = pa.concat_tables(tables).sort_by([("feature", "ascending")]).combine_chunks()
        self._features = self._table["feature"].to_numpy()
        self._check_disjoint()

    def of(self, feature: int, split: ExemplarSplit) -> list[Exemplar]:
        """A feature's exemplars in one split, in order of kind and rank."""
        start, stop = np.searchsorted(self._features, [feature, feature + 1])
        rows = self._table.slice(int(start), int(stop - start)).to_pylist()
        exemplars = [_exemplar(row) for row in rows if row["split"] == split]
        return sorted(exemplars, key=lambda exemplar: (exemplar.kind, exemplar.rank))

    def _check_disjoint(self) -> None:
        seen: set[str] = set()
        for split in EXEMPLAR_SPLITS:
            of_split = self._table.filter(pc.equal(self._table["split"], split))
            documents = set(pc.unique(of_split["doc_id"]).to_pylist())
            shared = seen & documents
            if shared:
                raise IntegrityError(
                    f"{len(shared)} documents ({min(shared)}, …) lie in the {split} split and in another: labels would "
                    "be scored on what they were written from. Make the features artifact again."
                )
            seen |= documents


def sample_sha256(contexts: Sequence[Exemplar]) -> str:
    """Content address of the exemplars shown: their places, lengths and activations."""
    parts = [
        [item.doc_id, item.sequence, item.start, [float(value) for value in item.activations_C]]
        for item in contexts
    ]
    return sha256_hex(canonical_json(parts).encode())


def _read_part(store: ObjectStore, key: str, wanted: pa.Array) -> pa.Table:
    with open_input(store, key) as file:
        return pq.read_table(file, columns=COLUMNS, filters=pc.field("feature").isin(wanted))


def _exemplar(row: dict[str, object]) -> Exemplar:
    place = {name: row[name] for name in ("kind", "rank", "quantile", "doc_id", "sequence", "start")}
    tokens, activations = row["tokens"], row["activations"]
    assert isinstance(tokens, list)
    return Exemplar(**place, tokens=tuple(tokens), activations_C=np.asarray(activations, np.float32))  # type: ignore[arg-type]
