"""The artifact of a label run: tables of labels and scores, and the manifest that makes them whole."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import thresher
from thresher.contracts import paths
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import (
    Capabilities,
    FeaturesManifest,
    FileEntry,
    LabelManifest,
    LinearCalibration,
)
from thresher.contracts.schemas import LABELS, SCORES
from thresher.contracts.states import State
from thresher.labeling.budget.account import Account
from thresher.labeling.budget.prices import Usage
from thresher.labeling.labels import Label
from thresher.labeling.ledger.ledger import Ledger
from thresher.labeling.qualification.records import Qualified, verdict_on
from thresher.labeling.scorers.intervals import interval_method
from thresher.labeling.scores import Score
from thresher.labeling.spec import LabelSpec
from thresher.storage import ObjectStore
from thresher.storage.artifacts import check_sizes, create_record, put_hashed_file

ROWS_PER_PART = 65_536
NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class RunRecord:
    """What all rows of a run share."""

    spec: LabelSpec
    run_id: str
    artifact: str
    features: FeaturesManifest
    calibrations: Mapping[str, LinearCalibration | None]
    """Of the simulators."""
    qualified: Qualified
    capabilities: dict[str, Capabilities]


def publish_run(
    store: ObjectStore,
    record: RunRecord,
    labels: Sequence[Label],
    scores: Sequence[Score],
    ledgers: Sequence[Ledger],
    account: Account,
) -> LabelManifest:
    """Write the tables, then the manifest; if another attempt at the run was first, its manifest holds."""
    label_files = _put_parts(store, record, "labels", label_rows(record, labels, account), LABELS)
    score_files = _put_parts(store, record, "scores", score_rows(record, scores), SCORES)
    answers, totals = account.answers(), account.total()
    responses = [
        entry
        for ledger in ledgers
        for entry in ledger.put_answers(f"{record.artifact}/responses", answers.get(ledger.name, []))
    ]
    check_sizes(store, [*label_files, *score_files, *responses])
    masses = [score.outcome.digit_mass for score in scores if score.outcome.digit_mass is not None]
    manifest = LabelManifest(
        run_id=record.run_id,
        spec=record.spec.identity(),
        dictionary=record.features.dictionary,
        corpus_id=record.features.corpus_id,
        features_id=record.features.features_id,
        num_features=len(labels),
        states=dict(sorted(Counter(str(label.state) for label in labels).items())),
        mean_scores=mean_scores(scores),
        calibrations=calibrations(record, scores),
        qualified=dict(sorted(record.qualified.items())),
        simulator_digit_mass=fmean(masses) if masses else None,
        num_calls=totals.num_calls,
        num_prompt_tokens=totals.num_prompt_tokens,
        num_completion_tokens=totals.num_completion_tokens,
        usage=account.by_purpose(),
        cost=totals.cost,
        currency=record.spec.budget.currency,
        capabilities=record.capabilities,
        labels=label_files,
        scores=score_files,
        responses=responses,
        code_version=thresher.__version__,
    )
    return create_record(store, paths.manifest(record.artifact), manifest)


def calibrations(record: RunRecord, scores: Sequence[Score]) -> dict[str, LinearCalibration]:
    """Of the simulators that made these scores."""
    made = {score.score_type for score in scores}
    return {
        name: line for name, line in sorted(record.calibrations.items()) if line is not None and name in made
    }


def mean_scores(scores: Sequence[Score]) -> dict[str, float]:
    """Mean of the defined values, by score type and `{type}.shuffled`."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for score in scores:
        if score.outcome.estimate.value is not None:
            values[score.score_type + (".shuffled" if score.shuffled else "")].append(
                score.outcome.estimate.value
            )
    return {name: fmean(found) for name, found in sorted(values.items())}


def label_rows(record: RunRecord, labels: Sequence[Label], account: Account) -> list[dict[str, Any]]:
    """Rows of the labels table. A label that nothing was asked for dates from the run's last answer."""
    spec = record.spec
    usage = account.usage_of_features()
    last_answer = max((label.received_at for label in labels if label.received_at), default=NEVER)
    return [
        {
            "label_id": label.label_id,
            "dictionary": spec.dictionary,
            "feature": label.feature,
            "text": label.text,
            "state": label.state,
            "method": label.provenance.method,
            "explainer_model": label.provenance.model,
            "explainer_revision": label.provenance.revision,
            "prompt_sha256": label.provenance.prompt_sha256,
            "exemplars_sha256": label.exemplars_sha256,
            "decoding": label.provenance.decoding,
            "seed": spec.seed,
            "num_candidates": label.num_candidates,
            **_cost_columns(usage.get(label.feature)),
            "run_id": record.run_id,
            "code_version": thresher.__version__,
            "created_at": label.received_at or last_answer,
            "supersedes": None,
        }
        for label in labels
    ]


def _cost_columns(used: tuple[Usage, float | None] | None) -> dict[str, Any]:
    usage, cost = used or (Usage(), 0.0)
    return {
        "num_prompt_tokens": usage.num_prompt_tokens,
        "num_completion_tokens": usage.num_completion_tokens,
        "cost": cost,
    }


def score_rows(record: RunRecord, scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Rows of the scores table, by feature."""
    rows = [_score_row(record, score) for score in scores]
    return sorted(rows, key=lambda row: (row["feature"], row["score_type"], row["shuffled"], row["label_id"]))


def _score_row(record: RunRecord, score: Score) -> dict[str, Any]:
    outcome, spec = score.outcome, record.spec
    qualified = verdict_on(record.qualified, score.score_type, score.scorer.name)
    num_looks = 1 if spec.stopping is None else len(spec.stopping.looks)
    content: Mapping[str, Any] = {
        "label_id": score.label_id,
        "feature": score.feature,
        "score_type": score.score_type,
        "shuffled": score.shuffled,
        "scorer_model": score.scorer.model,
        "scorer_revision": score.scorer.revision,
        "qualified": qualified,
        "prompt_sha256": score.scorer.prompt_sha256,
        "value": outcome.estimate.value,
        "ci_low": outcome.estimate.ci_low,
        "ci_high": outcome.estimate.ci_high,
        "ci_method": interval_method(spec.bootstrap, spec.seed, num_looks),
        "lift": outcome.lift.value,
        "lift_low": outcome.lift.ci_low,
        "lift_high": outcome.lift.ci_high,
        "state": State.UNQUALIFIED if outcome.state == State.OK and qualified is False else outcome.state,
        "n": outcome.num_scored,
        "n_unparsed": outcome.num_unparsed,
        "sample_sha256": outcome.sample_sha256,
    }
    score_id = content_id("score", content)
    return {"score_id": score_id, **content, "run_id": record.run_id}


def _put_parts(
    store: ObjectStore, record: RunRecord, name: str, rows: Sequence[dict[str, Any]], schema: pa.Schema
) -> list[FileEntry]:
    return [
        _put_table(
            store,
            f"{record.artifact}/{name}-{index:06d}",
            pa.Table.from_pylist(rows[start : start + ROWS_PER_PART], schema=schema),
        )
        for index, start in enumerate(range(0, max(len(rows), 1), ROWS_PER_PART))
    ]


def _put_table(store: ObjectStore, stem: str, table: pa.Table) -> FileEntry:
    """Named by its bytes: of two attempts at one run, neither writes over what the other's manifest names."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return put_hashed_file(store, stem, ".parquet", sink.getvalue().to_pybytes())
