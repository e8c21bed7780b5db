"""Evaluates a dictionary by splicing its reconstruction into its model, and stores what came out."""

from pathlib import Path

import torch

from thresher import __version__
from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import (
    DictionaryManifest,
    EvaluationManifest,
    HarvestManifest,
    ModelIdentity,
)
from thresher.evaluation.same_model import check_same_model
from thresher.evaluation.splice.measure import measure
from thresher.evaluation.splice.recovery import splice_metrics
from thresher.evaluation.splice.spec import EvaluateSpec
from thresher.evaluation.splice.spliced_model import SplicedModel
from thresher.evaluation.splice.target import spliced_sites
from thresher.evaluation.splice.text import draw_text
from thresher.latents.weights import load_encoder, read_dictionary
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import find_record, publish_manifest, read_record


def evaluate(spec: EvaluateSpec) -> EvaluationManifest:
    """Measure cross-entropy and KL with the reconstruction in place of the rows, or find them measured.

    Rows are replaced at the positions that the dictionary was fitted on; the others keep theirs. Means are over every
    predicted token of the sequences drawn.

    Raises:
        SpecError: the folder holds another model, the dictionary has no one place in it, or the text does not fit.
        MissingArtifactError: the dictionary, its harvest or the corpus is not in the store.
        IntegrityError: the dictionary's files are not what its manifest says.
    """
    store = open_store(spec.root)
    dictionary = read_dictionary(store, spec.dictionary)
    input_site, output_site = spliced_sites(dictionary)
    harvest = _harvest(store, spec, dictionary)
    model = _model(spec, harvest)
    evaluation_id = _evaluation_id(spec, dictionary, harvest, model)
    artifact = paths.evaluation(dictionary.name, dictionary.version, evaluation_id)
    made = find_record(store, paths.manifest(artifact), EvaluationManifest)
    if made is not None:
        return made
    text = draw_text(store, spec, harvest, dictionary)
    device = torch.device("cuda" if spec.use_gpu else "cpu")
    spliced = SplicedModel(
        Path(spec.model), input_site, output_site, family=harvest.spec.get("family"), device=device
    )
    encoder, _ = load_encoder(store, spec.dictionary)
    sums = measure(spliced, encoder.to(device), text, spec.batch_tokens)
    manifest = EvaluationManifest(
        evaluation_id=evaluation_id,
        spec=spec.identity(),
        dictionary=dictionary.ref(),
        model=model,
        corpus_id=text.corpus_id,
        input_site=input_site,
        output_site=output_site,
        num_sequences=len(text.token_ids_SL),
        num_predictions=len(text.token_ids_SL) * sums.num_predictions,
        num_spliced_rows=sums.rows.num_rows,
        metrics=splice_metrics(sums, spec.num_resamples, spec.seed),
        code_version=__version__,
    )
    return publish_manifest(store, artifact, manifest)


def _harvest(store: ObjectStore, spec: EvaluateSpec, dictionary: DictionaryManifest) -> HarvestManifest:
    if not dictionary.harvest_ids:
        mend = "It was imported without a harvest, which says which model it is of: import it with one."
        raise SpecError("dictionary", spec.dictionary, mend=mend)
    return read_record(store, paths.manifest(paths.harvest(dictionary.harvest_ids[0])), HarvestManifest)


def _model(spec: EvaluateSpec, harvest: HarvestManifest) -> ModelIdentity:
    if harvest.model is None or harvest.corpus_id is None:
        raise SpecError(
            "dictionary",
            spec.dictionary,
            mend="It was fitted to imported activations, which have no model here.",
        )
    if spec.use_gpu and not torch.cuda.is_available():
        raise SpecError("use_gpu", True, mend="This machine has no CUDA device: leave it out.")
    return check_same_model("model", harvest.model, spec.model)


def _evaluation_id(
    spec: EvaluateSpec, dictionary: DictionaryManifest, harvest: HarvestManifest, model: ModelIdentity
) -> str:
    return content_id(
        "evaluation",
        {
            "spec": spec.identity(),
            "weights_sha256": dictionary.weights().sha256,
            "harvest_id": harvest.harvest_id,
            "model": [model.config_sha256, model.weights_sha256],
            "code_version": __version__,
        },
    )
