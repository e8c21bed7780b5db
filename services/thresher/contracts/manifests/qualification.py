"""Whether a scorer tells true descriptions of planted features from false ones."""

from thresher.contracts.manifests.evaluation import Interval
from thresher.contracts.manifests.record import Record


class Separation(Record):
    """How far scores of true descriptions are above those of false ones, over planted features."""

    num_rules: int
    auroc: Interval
    """Share of pairs of a true and a false description, of any two features, in which the true one scores higher."""
    win_rate: Interval
    """Share of pairs of the same feature in which the true one scores higher; a tie is no win."""
    lift: Interval
    """Mean over features of the true description's score less the mean of the false ones'."""


class PlantedScores(Record):
    """Scores of a planted feature's descriptions: the true one, the near false one, the far false one."""

    kind: str
    true: str
    near: str
    far: str
    scores: list[float | None]
    """Null where undefined; such a score ranks below any other."""


class QualificationRecord(Record):
    qualification_id: str
    score_type: str
    scorer_model: str
    scorer_revision: str
    prompt_sha256: str
    min_auroc: float
    qualified: bool
    """The lower end of the overall AUROC's interval is above `min_auroc`."""
    overall: Separation
    by_kind: dict[str, Separation]
    """By the kind of rule: token, regex, topic, position."""
    by_distance: dict[str, Separation]
    """Against near false descriptions alone, and against far ones."""
    planted: list[PlantedScores]
    code_version: str
