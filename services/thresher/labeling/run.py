"""One label run: choose features, explain them, score the labels and the baseline, publish.

The same spec resumes: stored answers are read back, only missing ones are asked for.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import thresher
from thresher.contracts import paths
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import FeaturesManifest, LabelManifest
from thresher.contracts.names import parse_reference
from thresher.labeling.budget.budget import Budget
from thresher.labeling.budget.estimate import estimate_tokens
from thresher.labeling.endpoints.probe import check_model
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.exchanges import Exchanges
from thresher.labeling.exemplars.book import ExemplarBook
from thresher.labeling.explainers.build import ExplainerTools, build_explainer, check_evidence
from thresher.labeling.explainers.choice import CandidateChooser
from thresher.labeling.explainers.explainer import Explainer
from thresher.labeling.explainers.spec import SelfExplainingSpec, gives_several, subject_folders
from thresher.labeling.labels import LabelMaker
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.ledger.ledger import Ledger
from thresher.labeling.publish import RunRecord, publish_run
from thresher.labeling.qualification.records import Qualified, find_qualifications
from thresher.labeling.scorers.build import ScorerTools, build_scorers, check_scorers
from thresher.labeling.scorers.calibration import calibrate
from thresher.labeling.scorers.reading import Sampling
from thresher.labeling.scorers.scorer import Scorer
from thresher.labeling.scorers.sequential import SequentialScoring
from thresher.labeling.scores import ScoreMaker, contests
from thresher.labeling.selection import SelectedFeature, select_features
from thresher.labeling.spec import LabelSpec
from thresher.runtime.model_identity import identify_model, tokenizer_sha256
from thresher.runtime.progress import progress
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import find_record, read_record, record_bytes

logger = logging.getLogger(__name__)


def label(spec: LabelSpec) -> LabelManifest:
    """Label features of a dictionary, or find them labelled.

    A run that meets the budget's limit is published with what it has; the rest is in state over_budget, and a run
    with a larger budget asks only for that.

    Raises:
        SpecError: a value cannot be used; found before anything is asked of a model.
        MissingArtifactError: there is no features artifact of this dictionary over this corpus.
        EndpointError: the endpoint cannot be reached, refuses, or keeps on failing. Run again to resume.
        IntegrityError: the features artifact is damaged, or its splits share documents.
    """
    store = open_store(spec.root)
    features, qualified, run_id, artifact = _resolve(store, spec)
    made = find_record(store, paths.manifest(artifact), LabelManifest)
    if made is not None:
        return made
    return asyncio.run(_label(_open(store, spec, features, qualified, run_id, artifact)))


def find_labels(spec: LabelSpec) -> LabelManifest | None:
    """The run that `label` would make, if it is made; asks nothing of a model."""
    store = open_store(spec.root)
    _, _, _, artifact = _resolve(store, spec)
    return find_record(store, paths.manifest(artifact), LabelManifest)


def _resolve(store: ObjectStore, spec: LabelSpec) -> tuple[FeaturesManifest, Qualified, str, str]:
    """The features to label, which scorers are qualified, the id of the run, and where it lies.

    A run whose scorers have been qualified since is another one: it finds all answers stored, and marks its scores.
    """
    name, version = parse_reference("dictionary", spec.dictionary)
    features = read_record(
        store, paths.manifest(paths.features(name, version, spec.corpus)), FeaturesManifest
    )
    qualified = find_qualifications(store, spec)
    run_id = content_id(
        "label_run",
        {
            "spec": spec.identity(),
            "features_id": features.features_id,
            "tokenizer_sha256": tokenizer_sha256("tokenizer", spec.tokenizer),
            "qualified": qualified,
            "subjects": [identify_model(folder).weights_sha256 for folder in subject_folders(spec.explainer)],
            "code_version": thresher.__version__,
        },
    )
    return features, qualified, run_id, paths.label_run(name, version, run_id)


@dataclass(frozen=True)
class _Run:
    store: ObjectStore
    spec: LabelSpec
    features: FeaturesManifest
    run_id: str
    artifact: str
    tokenizer: PromptTokenizer
    selected: list[SelectedFeature]
    book: ExemplarBook
    qualified: Qualified


def _open(
    store: ObjectStore,
    spec: LabelSpec,
    features: FeaturesManifest,
    qualified: Qualified,
    run_id: str,
    artifact: str,
) -> _Run:
    """Check and read everything that needs no model."""
    tokenizer = PromptTokenizer(spec.tokenizer)
    selected = select_features(store, features, spec.features)
    book = ExemplarBook(store, features, [item.feature for item in selected])
    check_evidence(spec.explainer, book)
    return _Run(store, spec, features, run_id, artifact, tokenizer, selected, book, qualified)


async def _label(run: _Run) -> LabelManifest:
    spec, dictionary = run.spec, run.features.dictionary
    ledger = Ledger(run.store, dictionary.name, dictionary.version, run.run_id)
    budget = Budget(spec.budget.max_tokens, ledger.num_tokens_paid())
    async with Exchanges(spec.endpoint, ledger, budget) as exchanges:
        sequential = SequentialScoring(spec.bootstrap, spec.stopping, spec.seed)
        sampling = Sampling(spec.seed, sequential.num_batches)
        scorers = build_scorers(spec, ScorerTools(run.tokenizer, exchanges.of, sampling))
        explainer = build_explainer(spec.explainer, _explainer_tools(run, exchanges))
        _announce(run, explainer, scorers)
        await _probe(run, exchanges)
        run.store.put(paths.spec(run.artifact), record_bytes(spec))
        with progress("explain", len(run.selected), "features") as meter:
            maker = LabelMaker(spec, run.book, explainer, _chooser(spec, scorers))
            labels = await maker.make(run.selected, meter)
        densities = {item.feature: item.density for item in run.selected}
        listed = contests(labels, densities, spec.baseline.num_shuffles, spec.seed)
        own = [(contest.feature, contest.claims[0].text) for contest in listed]
        await calibrate(scorers, own, run.book, spec.endpoint.concurrency)
        with progress("score", len(listed), "features") as meter:
            scores = await ScoreMaker(spec, run.book, scorers, sequential).make(listed, meter)
    if budget.exhausted:
        logger.warning(
            "budget.max_tokens = %d is reached: the rest is in state over_budget.", spec.budget.max_tokens
        )
    record = RunRecord(spec, run.run_id, run.artifact, run.features, run.qualified)
    return publish_run(run.store, record, labels, scores, ledger)


def _announce(run: _Run, explainer: Explainer, scorers: Sequence[Scorer]) -> None:
    spec = run.spec
    num_tokens = estimate_tokens(run.book, run.selected, explainer, scorers, spec.baseline.num_shuffles)
    logger.info("%d features will take about %d tokens.", len(run.selected), num_tokens)
    if spec.budget.max_tokens is not None and num_tokens > spec.budget.max_tokens:
        logger.warning(
            "about %d tokens are needed, budget.max_tokens is %d.", num_tokens, spec.budget.max_tokens
        )


def _chooser(spec: LabelSpec, scorers: Sequence[Scorer]) -> CandidateChooser:
    named = [scorer for scorer in scorers if scorer.name == spec.choice.by]
    return CandidateChooser(named[0] if gives_several(spec.explainer) else None)


def _explainer_tools(run: _Run, exchanges: Exchanges) -> ExplainerTools:
    def subject_of(spec: SelfExplainingSpec) -> Exchange:
        from thresher.labeling.explainers.open_subject import open_subject

        wanted = [item.feature for item in run.selected]
        return exchanges.around(open_subject(run.store, run.features, spec, wanted))

    return ExplainerTools(
        tokenizer=run.tokenizer,
        seed=run.spec.seed,
        exchange_of=exchanges.of,
        subject_of=subject_of,
        dictionary_sha256=run.features.dictionary.weights_sha256,
    )


async def _probe(run: _Run, exchanges: Exchanges) -> None:
    for client in exchanges.clients:
        await check_model(client)
    await check_scorers(run.spec, exchanges.clients[0], run.tokenizer)
