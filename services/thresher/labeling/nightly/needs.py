"""Which features need a label, why, and what each is worth."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from thresher.contracts.manifests import FeaturesManifest, Record
from thresher.contracts.states import State
from thresher.labeling.nightly.drift import (
    FeatureProfile,
    drift_of,
    read_profiles,
    read_report_tokens,
    token_overlap,
)
from thresher.labeling.nightly.spec import ThresholdSpec
from thresher.labeling.standings.dictionaries import DictionaryState
from thresher.labeling.standings.standing import BOUNDED, Standing, Standings
from thresher.storage import ObjectStore

NeedKind = Literal["new_dictionary", "unlabelled", "failed", "drifted", "low_lift"]
NOT_FIRING = (State.DEAD, State.TOO_RARE)


class Need(Record):
    """A feature that needs a label."""

    dictionary: str
    """name@version."""
    corpus: str
    feature: int
    kind: NeedKind
    reason: str
    density: float
    uncertainty: float
    """1 where nothing is known, else how much of what a score could gain its interval leaves open."""
    tries: int = Field(ge=0)
    """Labels asked for before, over this features artifact."""
    num_runs: int = Field(ge=0)
    """Runs that hold the feature."""

    @property
    def value(self) -> float:
        return self.density * self.uncertainty


@dataclass(frozen=True)
class DictionaryNeeds:
    """What one dictionary needs."""

    reference: str
    target: FeaturesManifest
    needs: tuple[Need, ...]
    given_up: Counter[str]
    """Features that were tried often enough, by what is wrong with their label."""


def target_features(
    dictionary: DictionaryState, standings: Standings, corpus: str | None
) -> FeaturesManifest | None:
    """The features artifact that labels should be of: the asked for, or the newest.

    Manifests hold no time. An artifact that no run was made over is newer than those that were labelled; of several
    such, the one over the most rows is taken. Else it is that of the last run.
    """
    if corpus is not None:
        return dictionary.features_over(corpus)
    labelled = {run.features_id for run in dictionary.runs}
    fresh = [item for item in dictionary.features if item.features_id not in labelled]
    if fresh:
        return max(fresh, key=lambda item: (sum(item.num_rows.values()), item.features_id))
    last = standings.last_run
    return None if last is None else dictionary.features_over(last.corpus_id)


def needs_of(
    store: ObjectStore,
    dictionary: DictionaryState,
    standings: Standings,
    target: FeaturesManifest,
    thresholds: ThresholdSpec,
) -> DictionaryNeeds:
    """Every feature of a dictionary that fires often enough and has no label that holds."""
    now = read_profiles(store, target)
    sources = _Sources(store, dictionary, target, now)
    found, given_up = [], Counter[str]()
    for feature, profile in now.items():
        if profile.state != State.OK:
            continue
        standing = standings.by_feature.get(feature)
        trouble = _trouble(dictionary, standing, target, sources, profile, thresholds)
        if trouble is None:
            continue
        kind, reason, is_bounded = trouble
        tries = standings.tries[target.features_id, target.dictionary.weights_sha256, feature]
        if kind == "drifted" and tries:
            continue  # asked over the target, and the policy kept the old label: the answer was the stored one
        if is_bounded and tries >= thresholds.max_tries:
            given_up[reason] += 1
            continue
        found.append(
            Need(
                dictionary=dictionary.reference,
                corpus=target.corpus_id,
                feature=feature,
                kind=kind,
                reason=reason,
                density=profile.density,
                uncertainty=_uncertainty(standing) if kind == "low_lift" else 1.0,
                tries=tries,
                num_runs=standings.num_runs[feature],
            )
        )
    return DictionaryNeeds(dictionary.reference, target, tuple(found), given_up)


def _trouble(
    dictionary: DictionaryState,
    standing: Standing | None,
    target: FeaturesManifest,
    sources: "_Sources",
    profile: FeatureProfile,
    thresholds: ThresholdSpec,
) -> tuple[NeedKind, str, bool] | None:
    """What is wrong with a feature's label, in words, and whether the number of attempts at it is bounded."""
    if standing is None:
        if not dictionary.runs:
            return "new_dictionary", "the dictionary has no labels", False
        return "unlabelled", "no label that was not retracted", False
    if standing.state in NOT_FIRING:
        return "unlabelled", f"was {standing.state}, fires now", False
    if standing.state != State.OK:
        return "failed", str(standing.state), standing.state in BOUNDED
    drift = drift_of(
        standing,
        target,
        sources.profile(standing),
        profile,
        lambda: sources.report_tokens(standing, thresholds),
        thresholds,
    )
    if drift is not None:
        return "drifted", drift, False
    judgement = standing.judgement
    if judgement is not None and judgement.lift < thresholds.min_lift:
        return "low_lift", "low lift", True
    return None


def _uncertainty(standing: Standing | None) -> float:
    """1 less the share of the possible lift that is certain."""
    judgement = standing.judgement if standing is not None else None
    if judgement is None or judgement.lift_low is None:
        return 1.0
    return 1.0 - min(max(judgement.lift_low / judgement.headroom, 0.0), 1.0)


class _Sources:
    """Profiles of the artifacts that labels were made from, each read once."""

    def __init__(
        self,
        store: ObjectStore,
        dictionary: DictionaryState,
        target: FeaturesManifest,
        now: dict[int, FeatureProfile],
    ) -> None:
        self._store = store
        self._manifests = {item.features_id: item for item in dictionary.features}
        self._now = now
        self._profiles = {target.features_id: now}
        self._report_tokens: dict[str, dict[int, frozenset[str]]] = {}

    def profile(self, standing: Standing) -> FeatureProfile | None:
        features_id = standing.run.features_id
        if features_id not in self._manifests:
            return None
        if features_id not in self._profiles:
            self._profiles[features_id] = read_profiles(self._store, self._manifests[features_id])
        return self._profiles[features_id].get(standing.feature)

    def report_tokens(self, standing: Standing, thresholds: ThresholdSpec) -> frozenset[str]:
        """Read for all features at once that may have drifted to other tokens."""
        features_id = standing.run.features_id
        if features_id not in self._report_tokens:
            suspects = [
                feature
                for feature, before in self._profiles[features_id].items()
                if feature in self._now
                and token_overlap(before.top_tokens, self._now[feature].top_tokens)
                < thresholds.min_token_overlap
            ]
            self._report_tokens[features_id] = read_report_tokens(
                self._store, self._manifests[features_id], suspects
            )
        return self._report_tokens[features_id].get(standing.feature, frozenset())
