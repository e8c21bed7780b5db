"""One label run: choose features, explain them, score the labels and the baseline, publish.

The same spec resumes: stored answers are read back, only missing ones are asked for.
"""

import asyncio
import logging

from thresher.contracts import paths
from thresher.contracts.manifests import Capabilities, LabelManifest
from thresher.labeling.budget.plan import plan_run
from thresher.labeling.endpoints.probe import check_context, check_model, probe
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.spec import UNSTATED
from thresher.labeling.exchanges import Exchanges, make_exchanges, open_clients
from thresher.labeling.exemplars.book import ExemplarBook
from thresher.labeling.labels import LabelMaker
from thresher.labeling.opening import Opened, Panel, make_panel, open_spec
from thresher.labeling.publish import RunRecord, publish_run
from thresher.labeling.scores import ScoreMaker, pairings
from thresher.labeling.selection import SelectedFeature, select_features
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
    if made is not None:
        return made
    tokenizer = PromptTokenizer(spec.tokenizer)
    selected = select_features(opened.store, opened.features, spec.features)
    book = ExemplarBook(opened.store, opened.features, [item.feature for item in selected])
    return asyncio.run(_label(opened, tokenizer, selected, book))


def find_labels(spec: LabelSpec) -> LabelManifest | None:
    """The run that `label` would make, if it is made; asks nothing of a model."""
    opened = open_spec(spec)
    return find_record(opened.store, paths.manifest(opened.artifact), LabelManifest)


async def _label(
    opened: Opened, tokenizer: PromptTokenizer, selected: list[SelectedFeature], book: ExemplarBook
) -> LabelManifest:
    spec = opened.spec
    async with open_clients(opened) as (scoring, explaining):
        cards = {client.spec.model: await check_model(client) for client in {explaining, scoring}}
        exchanges = make_exchanges(opened, scoring, explaining, cards)
        panel = make_panel(spec, tokenizer, exchanges.scoring, exchanges.explaining)
        capabilities = await _probe(spec, tokenizer, exchanges, panel, book, selected)
        async with exchanges.scoring, exchanges.explaining:
            opened.store.put(paths.spec(opened.artifact), record_bytes(spec))
            with progress("explain", len(selected), "features") as meter:
                labels = await LabelMaker(spec, book, panel.explainer).make(selected, meter)
            pairs = pairings(labels, spec.baseline.num_shuffles, spec.seed)
            with progress("score", len(pairs) * len(panel.scorers), "scores") as meter:
                scores = await ScoreMaker(spec, book, panel.scorers).make(pairs, meter)
    if exchanges.budget.refusal is not None:
        logger.warning("%s What is left is in state over_budget.", exchanges.budget.refusal)
    record = RunRecord(spec, opened.run_id, opened.artifact, opened.features, capabilities)
    manifest = publish_run(opened.store, record, labels, scores, exchanges.ledgers, exchanges.account)
    for ledger in exchanges.ledgers:
        ledger.seal()
    return manifest


async def _probe(
    spec: LabelSpec,
    tokenizer: PromptTokenizer,
    exchanges: Exchanges,
    panel: Panel,
    book: ExemplarBook,
    selected: list[SelectedFeature],
) -> dict[str, Capabilities]:
    """What the endpoints can do, and whether that is enough. Says what the run will take."""
    needs = [need for scorer in panel.scorers for need in scorer.needs]
    found: dict[str, Capabilities] = {}
    by_role = {"scorer": exchanges.scoring, "explainer": exchanges.explaining}
    own = {"scorer": needs, "explainer": list(panel.explainer.needs)}
    if exchanges.explaining is exchanges.scoring:
        by_role, own = {"scorer": exchanges.scoring}, {"scorer": needs + own["explainer"]}
    plan, sample = plan_run(spec, panel, book, selected)
    logger.info("\n".join(plan.lines()))
    for role, exchange in by_role.items():
        card = await check_model(exchange.client)
        found[role] = await probe(exchange.client, card, tokenizer, own[role])
        mine = [request for request in sample if request.model == exchange.endpoint.model]
        check_context(exchange.endpoint.servers[0].base_url, found[role], mine)
        if exchange.endpoint.revision == UNSTATED:
            logger.warning(
                "The revision of %s is unstated: answers of other runs are taken only for a day, and only where the "
                "server names the same weights. State endpoint.revision to keep them.",
                exchange.endpoint.model,
            )
    return {"explainer": found["scorer"], **found}
