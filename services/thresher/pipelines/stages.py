"""The stages that the command and the jobs share: what each takes, does and prints."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from thresher.activations.importer.spec import ImportSpec
from thresher.config import Spec
from thresher.corpus.spec import CorpusSpec
from thresher.dictionary.formats.spec import ImportDictionarySpec
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.sweep.spec import SweepSpec
from thresher.evaluation.splice.spec import EvaluateSpec
from thresher.harvest.spec import HarvestSpec
from thresher.labeling.families.spec import FamiliesSpec
from thresher.labeling.nightly.spec import NightlySpec
from thresher.labeling.spec import LabelSpec
from thresher.pipelines.encode import EncodeSpec
from thresher.release.spec import PublishSpec


@dataclass(frozen=True)
class Stage:
    """One stage. `run` imports what it needs when it is called, so that listing stages costs nothing."""

    name: str
    spec: type[Spec]
    run: Callable[[Any], str]
    """Makes the artifact, or finds it made; returns its id."""
    plan: Callable[[str, Sequence[str]], list[str]] | None = None
    """Says, from a spec file and overrides, what it would take."""


def run_corpus(spec: CorpusSpec) -> str:
    from thresher.corpus.build import build_corpus

    return build_corpus(spec).corpus_id


def run_harvest(spec: HarvestSpec) -> str:
    from thresher.harvest.coordinator import harvest

    return harvest(spec).harvest_id


def run_import(spec: ImportSpec) -> str:
    from thresher.activations.importer.run import import_activations

    return import_activations(spec).harvest_id


def run_fit(spec: FitSpec) -> str:
    from thresher.dictionary.fit import fit
    from thresher.pipelines.cataloguing import catalogue_dictionary

    manifest = fit(spec)
    catalogue_dictionary(manifest)
    return str(manifest.ref())


def run_sweep(spec: SweepSpec) -> str:
    from thresher.pipelines.sweep import run_sweep

    return run_sweep(spec).sweep_id


def run_import_dictionary(spec: ImportDictionarySpec) -> str:
    from thresher.dictionary.formats.import_dictionary import import_dictionary
    from thresher.pipelines.cataloguing import catalogue_dictionary

    manifest = import_dictionary(spec)
    catalogue_dictionary(manifest)
    return str(manifest.ref())


def run_evaluate(spec: EvaluateSpec) -> str:
    from thresher.evaluation.splice.evaluate import evaluate
    from thresher.evaluation.splice.table import evaluation_lines

    manifest = evaluate(spec)
    print("\n".join(evaluation_lines(manifest)), file=sys.stderr)
    return manifest.evaluation_id


def run_encode(spec: EncodeSpec) -> str:
    from thresher.pipelines.cataloguing import catalogue_features
    from thresher.pipelines.encode import encode

    manifest = encode(spec)
    catalogue_features(spec.root, manifest)
    return manifest.features_id


def run_label(spec: LabelSpec) -> str:
    from thresher.labeling.run import label
    from thresher.pipelines.cataloguing import catalogue_labels

    manifest = label(spec)
    catalogue_labels(spec.root, manifest)
    return manifest.run_id


def run_families(spec: FamiliesSpec) -> str:
    from thresher.labeling.families.run import families
    from thresher.pipelines.cataloguing import catalogue_families

    manifest = families(spec)
    catalogue_families(spec.root, manifest)
    return manifest.families_id


def run_nightly(spec: NightlySpec) -> str:
    from thresher.pipelines.nightly import run_nightly

    return run_nightly(spec).night_id


def plan_label(spec_path: str, overrides: Sequence[str]) -> list[str]:
    from thresher.pipelines.planning import label_plan_lines

    return label_plan_lines(spec_path, overrides)


def run_publish(spec: PublishSpec) -> str:
    from thresher.pipelines.cataloguing import catalogue_release
    from thresher.release.publish import publish

    manifest = publish(spec)
    catalogue_release(manifest)
    return f"{manifest.name}@{manifest.version}"


STAGES = {
    stage.name: stage
    for stage in (
        Stage("corpus", CorpusSpec, run_corpus),
        Stage("harvest", HarvestSpec, run_harvest),
        Stage("import", ImportSpec, run_import),
        Stage("fit", FitSpec, run_fit),
        Stage("sweep", SweepSpec, run_sweep),
        Stage("import-dictionary", ImportDictionarySpec, run_import_dictionary),
        Stage("evaluate", EvaluateSpec, run_evaluate),
        Stage("encode", EncodeSpec, run_encode),
        Stage("label", LabelSpec, run_label, plan_label),
        Stage("families", FamiliesSpec, run_families),
        Stage("nightly", NightlySpec, run_nightly),
        Stage("publish", PublishSpec, run_publish),
    )
}
