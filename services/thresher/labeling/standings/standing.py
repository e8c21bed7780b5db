"""What each feature's current label is, and how well it stands: from the stored runs, by the catalog's policy."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean
from typing import Any

import pyarrow.compute as pc

from thresher.contracts.manifests import FileEntry, LabelManifest
from thresher.contracts.states import State
from thresher.labeling.standings.dictionaries import DictionaryState
from thresher.storage import ObjectStore
from thresher.storage.parquet import read_parquet
from thresher.storage.read_file import open_input

LABEL_COLUMNS = ["feature", "label_id", "text", "state", "created_at"]
SCORE_COLUMNS = [
    "feature",
    "label_id",
    "score_type",
    "shuffled",
    "qualified",
    "value",
    "ci_low",
    "lift",
    "lift_low",
    "state",
]
BOUNDED = (State.OK, State.REFUSED, State.UNPARSABLE)
"""A label in one of these was an attempt: asking again may bring the same."""

Source = tuple[str, str, int]
"""features_id, sha256 of the weights, feature."""


@dataclass(frozen=True)
class Judgement:
    """A label's score, less what shuffled labels get on the same contexts."""

    score_type: str
    value: float
    lift: float
    lift_low: float | None
    """Lower end of its interval."""

    @property
    def headroom(self) -> float:
        """The most that the lift could be: a perfect score less the baseline."""
        return max(1.0 - (self.value - self.lift), 1e-9)


@dataclass(frozen=True)
class Standing:
    """A feature's current label."""

    feature: int
    run: LabelManifest
    label_id: str
    text: str | None
    state: State
    judgement: Judgement | None
    """None where it has no score that counts."""


@dataclass(frozen=True)
class Standings:
    """Of one dictionary."""

    by_feature: dict[int, Standing]
    tries: Counter[Source]
    """How many labels were asked for, by what they were made from, without those that a fault or a budget prevented."""
    num_runs: Counter[int]
    """How many runs hold a feature."""
    last_run: LabelManifest | None
    """The one with the newest label; None if there is none."""


def read_standings(store: ObjectStore, dictionary: DictionaryState, score_types: Sequence[str]) -> Standings:
    """Read all runs of a dictionary; of each feature the label that the catalog's policy shows.

    Raises:
        IntegrityError, StoreError: a file is damaged or gone.
    """
    best: dict[int, tuple[tuple[Any, ...], LabelManifest, dict[str, Any]]] = {}
    tries: Counter[Source] = Counter()
    num_runs: Counter[int] = Counter()
    newest_of_run: list[tuple[datetime, str, LabelManifest]] = []
    for run in dictionary.runs:
        rows = list(_rows(store, run.labels, LABEL_COLUMNS))
        if not rows:
            continue
        newest: datetime = max(row["created_at"] for row in rows)
        newest_of_run.append((newest, run.run_id, run))
        for row in rows:
            num_runs[row["feature"]] += 1
            if row["state"] in BOUNDED:
                tries[run.features_id, run.dictionary.weights_sha256, row["feature"]] += 1
            if (run.run_id, row["label_id"]) in dictionary.retracted:
                continue
            rank = _rank(run, row, newest)
            if row["feature"] not in best or rank < best[row["feature"]][0]:
                best[row["feature"]] = (rank, run, row)
    judged = _judge(store, [(run, row["label_id"]) for _, run, row in best.values()], score_types)
    standings = {
        feature: Standing(
            feature,
            run,
            row["label_id"],
            row["text"],
            State(row["state"]),
            judged.get((run.run_id, feature)),
        )
        for feature, (_, run, row) in best.items()
    }
    last = max(newest_of_run, key=lambda item: item[:2], default=None)
    return Standings(standings, tries, num_runs, None if last is None else last[2])


def _rank(run: LabelManifest, row: dict[str, Any], newest: datetime) -> tuple[Any, ...]:
    """Smallest first, as catalog.current orders: well before not, then the last run, then the newest label."""
    is_bad = row["state"] != State.OK
    return is_bad, -newest.timestamp(), -row["created_at"].timestamp(), run.run_id, row["label_id"]


def _judge(
    store: ObjectStore, labels: Sequence[tuple[LabelManifest, str]], score_types: Sequence[str]
) -> dict[tuple[str, int], Judgement]:
    """By run and feature: the first of the score types that counts."""
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    runs = {run.run_id: run for run, _ in labels}
    for run, label_id in labels:
        wanted[run.run_id].add(label_id)
    judged = {}
    for run_id, run in runs.items():
        scores: defaultdict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
        for row in _rows(store, run.scores, SCORE_COLUMNS):
            scores[row["feature"], row["score_type"]].append(row)
        for feature, score_type in sorted(scores, key=lambda key: _order(score_types, key[1])):
            if score_type in score_types and (run_id, feature) not in judged:
                found = _judgement(score_type, scores[feature, score_type], wanted[run_id])
                if found is not None:
                    judged[run_id, feature] = found
    return judged


def _order(score_types: Sequence[str], score_type: str) -> int:
    return score_types.index(score_type) if score_type in score_types else len(score_types)


def _judgement(score_type: str, rows: Sequence[dict[str, Any]], current: set[str]) -> Judgement | None:
    own = [row for row in rows if not row["shuffled"] and row["label_id"] in current]
    if not own or own[0]["state"] != State.OK or own[0]["qualified"] is False or own[0]["value"] is None:
        return None
    row = own[0]
    if row["lift"] is not None:
        return Judgement(score_type, row["value"], row["lift"], row["lift_low"])
    # A run without lift still has its shuffled scores. An undefined one predicts nothing, as a correlation of zero.
    others = [other["value"] or 0.0 for other in rows if other["shuffled"]]
    baseline = fmean(others) if others else 0.0
    low = None if row["ci_low"] is None else row["ci_low"] - baseline
    return Judgement(score_type, row["value"], row["value"] - baseline, low)


def _rows(store: ObjectStore, files: Sequence[FileEntry], columns: list[str]) -> Iterator[dict[str, Any]]:
    for entry in files:
        with open_input(store, entry.key) as file:
            table = read_parquet(file, columns)
        yield from table.filter(pc.is_valid(table["feature"])).to_pylist()
