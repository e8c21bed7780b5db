"""What the features artifact holds of some features, read back."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from thresher.contracts.errors import IntegrityError
from thresher.contracts.exemplars import EXEMPLAR_SPLITS, ExemplarSplit, OutputTokenKind
from thresher.contracts.manifests import FeaturesManifest
from thresher.labeling.exemplars.evidence import Evidence, read_densities, read_output_tokens
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.storage import ObjectStore
from thresher.storage.parquet import read_parquet
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


class ExemplarBook:
    """The evidence of some features.

    Raises:
        IntegrityError: a document of theirs lies in two splits.
    """

    def __init__(self, store: ObjectStore, manifest: FeaturesManifest, features: Iterable[int]) -> None:
        wanted = pa.array(sorted(set(features)), pa.int32())
        tables = [_read_part(store, entry.key, wanted) for entry in manifest.exemplars]
        self._table = pa.concat_tables(tables).sort_by([("feature", "ascending")]).combine_chunks()
        self._features = self._table["feature"].to_numpy()
        self._check_disjoint()
        self._densities = read_densities(store, manifest, wanted)
        self._output_tokens = read_output_tokens(store, manifest, wanted)

    def evidence(self, feature: int) -> Evidence:
        """All that is known of a feature; no exemplars if it is dead."""
        exemplars: dict[ExemplarSplit, list[Exemplar]] = {split: [] for split in EXEMPLAR_SPLITS}
        for row in self._rows(feature):
            exemplars[row["split"]].append(_exemplar(row))
        return Evidence(
            feature,
            self._densities[feature],
            {split: _in_order(found) for split, found in exemplars.items()},
            self._output_tokens.get(feature, {}),
        )

    def of(self, feature: int, split: ExemplarSplit) -> list[Exemplar]:
        """A feature's exemplars in one split, in order of kind and rank."""
        return list(_in_order(_exemplar(row) for row in self._rows(feature) if row["split"] == split))

    @cached_property
    def splits(self) -> set[ExemplarSplit]:
        """Splits in which any of the features has an exemplar."""
        return set(pc.unique(self._table["split"]).to_pylist())

    @cached_property
    def output_token_kinds(self) -> set[OutputTokenKind]:
        """Kinds of output tokens that any of the features has."""
        return {kind for found in self._output_tokens.values() for kind in found}

    def _rows(self, feature: int) -> list[dict[str, Any]]:
        start, stop = np.searchsorted(self._features, [feature, feature + 1])
        rows: list[dict[str, Any]] = self._table.slice(int(start), int(stop - start)).to_pylist()
        return rows

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


def _read_part(store: ObjectStore, key: str, wanted: pa.Array) -> pa.Table:
    with open_input(store, key) as file:
        return read_parquet(file, COLUMNS, {"feature": wanted.to_pylist()})


def _exemplar(row: dict[str, Any]) -> Exemplar:
    place = {name: row[name] for name in ("kind", "rank", "quantile", "doc_id", "sequence", "start")}
    activations_C = np.asarray(row["activations"], np.float32)
    return Exemplar(**place, tokens=tuple(row["tokens"]), activations_C=activations_C)


def _in_order(exemplars: Iterable[Exemplar]) -> tuple[Exemplar, ...]:
    return tuple(sorted(exemplars, key=lambda exemplar: (exemplar.kind, exemplar.rank)))
