"""Qualifications in the store: found again by every later run of the same scorer."""

from dataclasses import asdict

from thresher.contracts import paths
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import QualificationRecord
from thresher.labeling.scorers.build import judges
from thresher.labeling.scorers.scorer import ScorerIdentity
from thresher.labeling.spec import LabelSpec
from thresher.storage import ObjectStore
from thresher.storage.artifacts import find_record

Qualified = dict[str, bool | None]
"""By score type, whether it tells true labels from false ones; None if it was never tried."""


def verdict_on(qualified: Qualified, score_type: str, scorer: str) -> bool | None:
    """On a score type; one that was not tried for itself goes by its scorer's first."""
    return qualified.get(score_type, qualified.get(scorer))


def qualification_id(identity: ScorerIdentity) -> str:
    return content_id("qualification", asdict(identity))


def find_qualification(store: ObjectStore, identity: ScorerIdentity) -> QualificationRecord | None:
    return find_record(store, paths.qualification(qualification_id(identity)), QualificationRecord)


def find_qualifications(store: ObjectStore, spec: LabelSpec) -> Qualified:
    """Of what the scorers of a spec that judge labels are qualified as."""
    found = {name: find_qualification(store, identity) for name, identity in judges(spec).items()}
    return {name: None if record is None else record.qualified for name, record in found.items()}
