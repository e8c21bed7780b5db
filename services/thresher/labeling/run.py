"""One label run: choose features, explain them, score the labels and the baseline, publish.

The same spec resumes: stored answers are read back, only missing ones are asked for.
"""

import asyncio
import logging
from collections.abc import Sequence

from thresher.contracts import paths
from thresher.contracts.manifests import Capabilities, LabelManifest
from thresher.labeling.budget.plan import plan_run
from thresher.labeling.endpoints.models import ModelCard
from thresher.labeling.endpoints.probe import check_context, check_model, probe
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.endpoints.spec import UNSTATED
from thresher.labeling.exchanges import Exchanges
from thresher.labeling.exemplars.book import ExemplarBook
from thresher.labeling.explainers.build import check_evidence, explainer_needs
from thresher.labeling.explainers.choice import CandidateChooser
from thresher.labeling.explainers.spec import gives_several
from thresher.labeling.labels import Label, LabelMaker
from thresher.labeling.opening import Opened, Panel, Subjects, make_panel, open_spec
from thresher.labeling.publish import RunRecord, publish_run
from thresher.labeling.scorers.build import scorer_needs
from thresher.labeling.scorers.calibration import calibrate
from thresher.labeling.scorers.scorer import Scorer
from thresher.labeling.scores import Score, ScoreMaker, contests
from thresher.labeling.selection import select_features
from thresher.labeling.spec import LabelSpec
from thresher.runtime.progress import progress
from thresher.storage.artifacts import find_record, record_bytes

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
    opened = open_spec(spec)
    made = find_record(opened.store, paths.manifest(opened.artifact), LabelManifest)
    return asyncio.run(_label(opened, _read(opened))) if made is None else made


def find_labels(spec: LabelSpec) -> LabelManifest | None:
    """The run that `label` would make, if it is made; asks nothing of a model."""
    opened = open_spec(spec)
    return find_record(opened.store, paths.manifest(opened.artifact), LabelManifest)


def _read(opened: Opened) -> Subjects:
    """Check and read everything that needs no model."""
    tokenizer = PromptTokenizer(opened.spec.tokenizer)
    selected = select_features(opened.store, opened.features, opened.spec.features)
    book = ExemplarBook(opened.store, opened.features, [item.feature for item in selected])
    check_evidence(opened.spec.explainer, book)
    return Subjects(tokenizer, selected, book)


async def _label(opened: Opened, subjects: Subjects) -> LabelManifest:
    async with Exchanges(opened.spec.endpoint, opened.spec.budget) as exchanges:
        panel = make_panel(opened, subjects, exchanges)
        plan, sample = plan_run(opened.spec, panel, subjects.book, subjects.selected)
        logger.info("\n".join(plan.lines()))
        capabilities = await _probe(opened, subjects, exchanges, sample)
        opened.store.put(paths.spec(opened.artifact), record_bytes(opened.spec))
        labels = await _explain(opened.spec, subjects, panel)
        scores = await _score(opened.spec, subjects, panel, labels)
    if exchanges.budget.refusal is not None:
        logger.warning("%s What is left is in state over_budget.", exchanges.budget.refusal)
    record = RunRecord(opened.spec, opened.run_id, opened.artifact, opened.features, capabilities)
    ledgers = exchanges.ledgers.values()
    manifest = publish_run(opened.store, record, labels, scores, ledgers, exchanges.account)
    for ledger in ledgers:
        ledger.seal()
    return manifest


async def _explain(spec: LabelSpec, subjects: Subjects, panel: Panel) -> list[Label]:
    with progress("explain", len(subjects.selected), "features") as meter:
        maker = LabelMaker(spec, subjects.book, panel.explainer, _chooser(spec, panel.scorers))
        return await maker.make(subjects.selected, meter)


async def _score(spec: LabelSpec, subjects: Subjects, panel: Panel, labels: Sequence[Label]) -> list[Score]:
    densities = {item.feature: item.density for item in subjects.selected}
    listed = contests(labels, densities, spec.baseline.num_shuffles, spec.seed)
    own = [(contest.feature, contest.claims[0].text) for contest in listed]
    await calibrate(panel.scorers, own, subjects.book, spec.endpoint.concurrency)
    with progress("score", len(listed), "features") as meter:
        return await ScoreMaker(spec, subjects.book, panel.scorers, panel.sequential).make(listed, meter)


def _chooser(spec: LabelSpec, scorers: Sequence[Scorer]) -> CandidateChooser:
    named = [scorer for scorer in scorers if scorer.name == spec.choice.by]
    return CandidateChooser(named[0] if gives_several(spec.explainer) else None)


async def _probe(
    opened: Opened, subjects: Subjects, exchanges: Exchanges, sample: Sequence[ModelRequest]
) -> dict[str, Capabilities]:
    """Find out what each endpoint can do, and whether that is enough; then open the ledgers."""
    spec, found, cards = opened.spec, dict[str, Capabilities](), dict[str, ModelCard]()
    for client in exchanges.clients:
        where = client.spec.servers[0].base_url
        cards[where] = await check_model(client)
        needs = explainer_needs(spec.explainer, client.spec, spec.endpoint)
        if client.spec == spec.endpoint:
            needs += scorer_needs(spec)
        found[client.spec.model] = await probe(client, cards[where], subjects.tokenizer, needs)
        check_context(where, found[client.spec.model], [it for it in sample if it.model == client.spec.model])
        if client.spec.revision == UNSTATED:
            logger.warning(
                "The revision of %s is unstated: answers of other runs are taken for a day only, and only where the "
                "server names the same weights. State the endpoint's revision to keep them.",
                client.spec.model,
            )
    exchanges.open_ledgers(opened.store, opened.run_id, cards)
    return found
