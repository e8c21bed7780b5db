"""Manifests: the last object written of every artifact. Whoever sees a manifest sees a whole artifact.

A manifest holds no clock time and no random name, so that an interrupted and resumed run writes the same
bytes as an undisturbed one.
"""

from collections.abc import Mapping

from thresher.contracts.manifests.corpus import SPLITS, CorpusManifest, SequenceFile, SplitName, SplitRange
from thresher.contracts.manifests.dictionary import (
    DictionaryManifest,
    DictionaryOrigin,
    DictionaryTarget,
    MixedHarvest,
    OriginFile,
    TargetKind,
    TargetSite,
)
from thresher.contracts.manifests.evaluation import (
    EvaluationManifest,
    Interval,
    SpliceMetrics,
    SpliceResult,
)
from thresher.contracts.manifests.families import FamiliesManifest
from thresher.contracts.manifests.features import FeaturesManifest
from thresher.contracts.manifests.harvest import (
    DictionaryRef,
    EncodingName,
    EngineProvenance,
    HarvestManifest,
    ModelIdentity,
    OutlierRow,
    ShardCommit,
    SiteFile,
    SiteSummary,
)
from thresher.contracts.manifests.labels import (
    Capabilities,
    LabelManifest,
    LinearCalibration,
    PurposeUsage,
)
from thresher.contracts.manifests.metrics import NormBand, ReconstructionMetrics
from thresher.contracts.manifests.nightly import BatchOutcome, NightBatch, NightlyManifest, NightOutcome
from thresher.contracts.manifests.qualification import PlantedScores, QualificationRecord, Separation
from thresher.contracts.manifests.record import FileEntry, Record
from thresher.contracts.manifests.release import ReleaseFile, ReleaseGroup, ReleaseManifest
from thresher.contracts.manifests.sweep import SweepManifest

MANIFEST_KINDS: Mapping[str, type[Record]] = {
    "corpora": CorpusManifest,
    "activations": HarvestManifest,
    "dictionaries": DictionaryManifest,
    "features": FeaturesManifest,
    "labels": LabelManifest,
    "families": FamiliesManifest,
    "nightlies": NightlyManifest,
    "evaluations": EvaluationManifest,
    "releases": ReleaseManifest,
    "sweeps": SweepManifest,
}
"""Manifest model by the first part of an artifact's path."""

__all__ = [
    "MANIFEST_KINDS",
    "SPLITS",
    "BatchOutcome",
    "Capabilities",
    "CorpusManifest",
    "DictionaryManifest",
    "DictionaryOrigin",
    "DictionaryRef",
    "DictionaryTarget",
    "EncodingName",
    "EngineProvenance",
    "EvaluationManifest",
    "FamiliesManifest",
    "FeaturesManifest",
    "FileEntry",
    "HarvestManifest",
    "Interval",
    "LabelManifest",
    "LinearCalibration",
    "MixedHarvest",
    "ModelIdentity",
    "NightBatch",
    "NightOutcome",
    "NightlyManifest",
    "NormBand",
    "OriginFile",
    "OutlierRow",
    "PlantedScores",
    "PurposeUsage",
    "QualificationRecord",
    "ReconstructionMetrics",
    "Record",
    "ReleaseFile",
    "ReleaseGroup",
    "ReleaseManifest",
    "Separation",
    "SequenceFile",
    "ShardCommit",
    "SiteFile",
    "SiteSummary",
    "SpliceMetrics",
    "SpliceResult",
    "SplitName",
    "SplitRange",
    "SweepManifest",
    "TargetKind",
    "TargetSite",
]
