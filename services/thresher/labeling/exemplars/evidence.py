"""All that a label of a feature can be written from and is tried on: texts by split, and what it does to the output."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from thresher.contracts.exemplars import ExemplarKind, ExemplarSplit, OutputTokenKind
from thresher.contracts.manifests import FeaturesManifest
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.storage import ObjectStore
from thresher.storage.parquet import read_parquet
from thresher.storage.read_file import open_input


@dataclass(frozen=True)
class OutputToken:
    """A token of the vocabulary that the feature makes more or less likely."""

    token_id: int
    token: str
    value: float
    """Logit, or change of log-probability."""


OutputTokens = dict[OutputTokenKind, tuple[OutputToken, ...]]


@dataclass(frozen=True)
class Evidence:
    """What the features artifact holds of one feature."""

    feature: int
    density: float
    exemplars: Mapping[ExemplarSplit, tuple[Exemplar, ...]]
    output_tokens: Mapping[OutputTokenKind, tuple[OutputToken, ...]] = field(default_factory=dict)
    """The most extreme first; a kind that the artifact has not is not there."""

    def of(self, split: ExemplarSplit, kinds: Iterable[ExemplarKind] | None = None) -> list[Exemplar]:
        """Exemplars of a split, in order of kind and rank; of some kinds, or of all."""
        wanted = None if kinds is None else set(kinds)
        found = self.exemplars.get(split, ())
        return [item for item in found if wanted is None or item.kind in wanted]


def read_densities(store: ObjectStore, manifest: FeaturesManifest, wanted: pa.Array) -> dict[int, float]:
    """Share of rows on which each of the `wanted` features is active."""
    with open_input(store, manifest.stats.key) as file:
        stats = read_parquet(file, ["feature", "density"], {"feature": wanted.to_pylist()})
    return dict(zip(stats["feature"].to_pylist(), stats["density"].to_pylist(), strict=True))


def read_output_tokens(
    store: ObjectStore, manifest: FeaturesManifest, wanted: pa.Array
) -> dict[int, OutputTokens]:
    """Output tokens of each of the `wanted` features; empty where the artifact holds none."""
    if manifest.output_tokens is None:
        return {}
    columns = ["feature", "kind", "rank", "token_id", "token", "value"]
    with open_input(store, manifest.output_tokens.key) as file:
        table = read_parquet(file, columns, {"feature": wanted.to_pylist()})
    found: dict[int, OutputTokens] = {}
    for row in table.sort_by([("feature", "ascending"), ("rank", "ascending")]).to_pylist():
        by_kind = found.setdefault(row["feature"], {})
        by_kind[row["kind"]] = (*by_kind.get(row["kind"], ()), _output_token(row))
    return found


def _output_token(row: dict[str, Any]) -> OutputToken:
    return OutputToken(row["token_id"], row["token"], row["value"])
