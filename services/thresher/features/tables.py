"""Statistics and exemplars as Arrow tables.

Shapes: E exemplars, C tokens of a window.
"""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.contracts.exemplars import EXEMPLAR_KINDS, EXEMPLAR_SPLITS
from thresher.contracts.schemas import EXEMPLARS, FEATURE_STATS
from thresher.contracts.states import State
from thresher.features.exemplars import Chosen
from thresher.features.materialise import ShownWindows
from thresher.features.statistics import HISTOGRAM_EDGES, LatentStatistics
from thresher.features.windows import WindowGrid

TOP_TOKENS = 10


def exemplar_table(
    chosen: Chosen, shown: ShownWindows, strings: pa.StringArray, grid: WindowGrid
) -> pa.Table:
    """Schema EXEMPLARS; `strings` holds the text of each token id."""
    exemplars = chosen.rows
    token_ids = shown.token_ids(exemplars).ravel()
    is_stratum = exemplars["kind"] == EXEMPLAR_KINDS.index("quantile")
    columns = {
        "feature": exemplars["feature"],
        "split": _names(EXEMPLAR_SPLITS, exemplars["split"]),
        "kind": _names(EXEMPLAR_KINDS, exemplars["kind"]),
        "rank": exemplars["rank"],
        "quantile": pa.array(exemplars["quantile"], mask=~is_stratum),
        "doc_id": shown.doc_ids(shown.documents(exemplars)),
        "sequence": exemplars["sequence"],
        "start": grid.starts[exemplars["window"]],
        "token_ids": _lists(pa.array(token_ids), grid.length),
        "tokens": _lists(strings.take(token_ids), grid.length),
        "activations": _lists(pa.array(chosen.activations_EC.ravel()), grid.length),
        "peak": exemplars["peak"],
    }
    return pa.table(columns, schema=EXEMPLARS)


def stats_table(
    statistics: LatentStatistics,
    num_documents: list[npt.NDArray[np.int64]],
    top_tokens: list[list[str]],
    too_rare_below: int,
) -> pa.Table:
    """Schema FEATURE_STATS, with the histogram's edges in the metadata as JSON.

    `num_documents` counts, in explain and in report, the documents in which each latent fires.
    """
    too_rare = np.min(num_documents, axis=0) < too_rare_below
    states = np.where(statistics.num_active == 0, State.DEAD, np.where(too_rare, State.TOO_RARE, State.OK))
    columns = {
        "feature": np.arange(statistics.num_latents, dtype=np.int32),
        "num_active": statistics.num_active,
        "density": statistics.density,
        "mean": statistics.mean,
        "max": statistics.max,
        "histogram": _lists(pa.array(statistics.histogram_FB.ravel()), statistics.histogram_FB.shape[1]),
        "top_tokens": top_tokens,
        "state": states.tolist(),
    }
    metadata = {"histogram_edges": json.dumps(HISTOGRAM_EDGES.tolist())}
    return pa.table(columns, schema=FEATURE_STATS.with_metadata(metadata))


def top_tokens_of(
    chosen: Chosen, features: range, shown: ShownWindows, strings: pa.StringArray, grid: WindowGrid
) -> list[list[str]]:
    """For each of `features` the distinct tokens at the peaks of its top explain exemplars, strongest first.

    The other splits are left out: what a label is made from must not have seen what it is scored on.
    """
    rows = chosen.rows
    is_top = rows["kind"] == EXEMPLAR_KINDS.index("top")
    top = rows[is_top & (rows["split"] == EXEMPLAR_SPLITS.index("explain"))]
    offsets = top["position"] - grid.starts[top["window"]]
    peak_token_ids = shown.token_ids(top)[np.arange(len(top)), offsets]
    tokens: list[dict[str, None]] = [{} for _ in features]
    for feature, text in zip(top["feature"], strings.take(peak_token_ids).to_pylist(), strict=True):
        tokens[feature - features.start].setdefault(text)
    return [list(distinct)[:TOP_TOKENS] for distinct in tokens]


def _names(names: tuple[str, ...], indices: npt.NDArray[np.int32]) -> pa.StringArray:
    return pa.array(names).take(indices)


def _lists(values: "pa.Array[Any]", length: int) -> "pa.ListArray[Any]":
    offsets: Any = pa.array(np.arange(0, len(values) + 1, length, dtype=np.int32))
    lists: pa.ListArray[Any] = pa.ListArray.from_arrays(offsets, values)
    return lists
