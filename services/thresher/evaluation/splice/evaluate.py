"""Evaluates a dictionary by splicing its reconstruction into its model, and stores what came out."""

from collections.abc import Sequence
from typing import Any

import torch

from thresher import __version__
from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import (
    DictionaryManifest,
    EvaluationManifest,
    HarvestManifest,
    SpliceResult,
)
from thresher.evaluation.splice.measure import SequenceSums, measure
from thresher.evaluation.splice.models import HarvestedModel, find_models
from thresher.evaluation.splice.reconstructor import reconstructors
from thresher.evaluation.splice.recovery import splice_metrics
from thresher.evaluation.splice.spec import EvaluateSpec
from thresher.evaluation.splice.target import Splice, SpliceTarget, splice_target
from thresher.evaluation.splice.text import SplicedText, draw_text
from thresher.latents.subject.spliced_model import SplicedModel
from thresher.latents.weights import load_encoder, read_dictionary
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import find_record, publish_manifest, read_record


def evaluate(spec: EvaluateSpec) -> EvaluationManifest:
    """Measure cross-entropy and KL with reconstructions in place of the rows, or find them measured.

    Rows are replaced at the positions that the dictionary was fitted on; the others keep theirs. Means are over every
    predicted token of the sequences drawn. Of several sites, each is replaced by itself, then all of a model at once.

    Raises:
        SpecError: a folder holds another model, the dictionary has no place in it, or the text does not fit.
        MissingArtifactError: the dictionary, a harvest of it or the corpus is not in the store.
        IntegrityError: the dictionary's files are not what its manifest says.
    """
    store = open_store(spec.root)
    dictionary = read_dictionary(store, spec.dictionary)
    harvests = _harvests(store, spec, dictionary)
    if spec.use_gpu and not torch.cuda.is_available():
        raise SpecError("use_gpu", True, mend="This machine has no CUDA device: leave it out.")
    models = find_models(spec, harvests)
    target = splice_target(dictionary, models)
    evaluation_id = _evaluation_id(spec, dictionary, models)
    artifact = paths.evaluation(dictionary.name, dictionary.version, evaluation_id)
    made = find_record(store, paths.manifest(artifact), EvaluationManifest)
    if made is not None:
        return made
    text = draw_text(store, spec, harvests[0], dictionary)
    sums = _measure(store, spec, models, target, text)
    manifest = EvaluationManifest(
        evaluation_id=evaluation_id,
        spec=spec.identity(),
        dictionary=dictionary.ref(),
        corpus_id=text.corpus_id,
        num_sequences=len(text.token_ids_SL),
        num_predictions=len(text.token_ids_SL) * sums[0].num_predictions,
        results=[
            _result(spec, models, target, splice, found)
            for splice, found in zip(target.splices, sums, strict=True)
        ],
        code_version=__version__,
    )
    return publish_manifest(store, artifact, manifest)


def _harvests(
    store: ObjectStore, spec: EvaluateSpec, dictionary: DictionaryManifest
) -> list[HarvestManifest]:
    """Those that hold the sites of the target; what was mixed in is of the same sites and model."""
    sites = [*dictionary.target.inputs, *dictionary.target.outputs]
    named = dict.fromkeys(item.harvest_id for item in sites)
    if None in named:
        mend = "It was imported without a harvest, which says which model it is of: import it with one."
        raise SpecError("dictionary", spec.dictionary, mend=mend)
    return [read_record(store, paths.manifest(paths.harvest(str(name))), HarvestManifest) for name in named]


def _measure(
    store: ObjectStore,
    spec: EvaluateSpec,
    models: Sequence[HarvestedModel],
    target: SpliceTarget,
    text: SplicedText,
) -> list[SequenceSums]:
    encoder, dictionary = load_encoder(store, spec.dictionary)
    device = torch.device("cuda" if spec.use_gpu else "cpu")
    spliced = [
        SplicedModel(model.folder, target.sites_of(index), family=model.family, device=device)
        for index, model in enumerate(models)
    ]
    made = reconstructors(encoder.to(device), dictionary, target)
    return measure(spliced, made, target.splices, text, spec.batch_tokens)


def _result(
    spec: EvaluateSpec,
    models: Sequence[HarvestedModel],
    target: SpliceTarget,
    splice: Splice,
    sums: SequenceSums,
) -> SpliceResult:
    return SpliceResult(
        model=models[splice.model].identity,
        input_sites=[place.site for place in target.read_for(splice)],
        output_sites=[place.site for place in splice.outputs],
        num_spliced_rows=sums.rows.num_rows,
        metrics=splice_metrics(sums, spec.num_resamples, spec.seed),
    )


def _evaluation_id(
    spec: EvaluateSpec, dictionary: DictionaryManifest, models: Sequence[HarvestedModel]
) -> str:
    first = models[0].identity
    parts: dict[str, Any] = {
        "spec": spec.identity(),
        "weights_sha256": dictionary.weights().sha256,
        "harvest_id": models[0].harvests[0].harvest_id,
        "model": [first.config_sha256, first.weights_sha256],
        "code_version": __version__,
    }
    others = [harvest.harvest_id for model in models for harvest in model.harvests][1:]
    return content_id("evaluation", parts | ({"other_harvests": others} if others else {}))
