"""One label run: choose features, explain them, score the labels and the baseline, publish.

The same spec resumes: stored answers are read back, only missing ones are asked for.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from thresher.contracts import paths
from thresher.contracts.manifests import Capabilities, LabelManifest
from thresher.labeling.budget.account import Account
from thresher.labeling.budget.budget import Budget
from thresher.labeling.budget.plan import Plan, sample_features
from thresher.labeling.collection import rare_collection
from thresher.labeling.endpoints.spec import UNSTATED
from thresher.labeling.guard import RunGuard
from thresher.labeling.labels import Label
from thresher.labeling.ledger.ledger import Ledger
from thresher.labeling.ledger.paid import write_shelf
from thresher.labeling.opening import OpenRun, open_run, read_features, run_id_of
from thresher.labeling.publish import RunRecord, publish_run
from thresher.labeling.scorers.calibration import Calibrations, fit_calibrations
from thresher.labeling.scores import Score, contests
from thresher.labeling.spec import LabelSpec
from thresher.labeling.workshop import Shop, Workshop
from thresher.runtime.progress import progress
from thresher.storage import open_store
from thresher.storage.artifacts import find_record, record_bytes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """What a run publishes."""

    labels: Sequence[Label]
    calibrations: Calibrations
    scores: Sequence[Score]


def label(spec: LabelSpec, guard: RunGuard | None = None) -> LabelManifest:
    """Label features of a dictionary, or find them labelled.

    A run that meets the budget's limit is published with what it has; the rest is in state over_budget, and a run
    with a larger budget asks only for that.

    Args:
        spec: what to label.
        guard: may stop the run from outside, and is asked before it publishes.

    Raises:
        SpecError: a value cannot be used; found before anything is asked of a model.
        MissingArtifactError: there is no features artifact of this dictionary over this corpus.
        EndpointError: the endpoint cannot be reached, refuses, or keeps on failing. Run again to resume.
        IntegrityError: the features artifact is damaged, or its splits share documents.
        ClusterError: workers are lost again and again, or there is no cluster to place them on.
        RunStoppedError: the guard stopped it. Run again to resume.
    """
    made = find_labels(spec)
    if made is not None:
        return made
    guard = guard or RunGuard()
    with rare_collection():
        return guard.run(_label(open_run(spec), guard))


def find_labels(spec: LabelSpec) -> LabelManifest | None:
    """The run that `label` would make, if it is made; asks nothing of a model."""
    features, run_id = read_features(open_store(spec.root), spec), label_run_id(spec)
    ref = features.dictionary
    key = paths.manifest(paths.label_run(ref.name, ref.version, run_id))
    return find_record(open_store(spec.root), key, LabelManifest)


def label_run_id(spec: LabelSpec) -> str:
    """Id of the run that `label` would make."""
    store = open_store(spec.root)
    return run_id_of(store, spec, read_features(store, spec))


def plan(spec: LabelSpec) -> Plan:
    """What `label` would take at the most; asks nothing of a model. Raises: as label, before it asks."""
    run = open_run(spec)
    shop = Workshop(run, Budget(None), Account(spec.prices))
    shop.open_book(sample_features(run.selected))
    return shop.plan(run.selected)[0]


async def _label(run: OpenRun, guard: RunGuard) -> LabelManifest:
    spec, prices = run.spec, run.spec.prices
    budget = Budget(spec.budget.max_tokens, max_cost=spec.budget.max_cost, prices=prices)
    account, is_fanned_out = Account(prices), spec.workers > 1
    async with Workshop(run, budget, account) as workshop:
        every = [item.feature for item in run.selected]
        workshop.open_book(sample_features(run.selected) if is_fanned_out else every)
        expected, sample = workshop.plan(run.selected)
        _announce(run, expected)
        capabilities = await workshop.probe(sample)
        roots = {model: found.root for model, found in capabilities.items()}
        for model, ledger in workshop.open_ledgers(roots):
            write_shelf(run.store, run.artifact, ledger.name)
            budget.add(prices.charge(model, ledger.paid()))
        run.store.put(paths.spec(run.artifact), record_bytes(spec))
        if is_fanned_out:
            from thresher.labeling.fan_out.driver import FanOut

            async with FanOut(run, budget, account, roots) as shop:
                made = await _work(run, shop)
        else:
            made = await _work(run, workshop)
        if budget.refusal is not None:
            logger.warning("%s What is left is in state over_budget.", budget.refusal)
        guard.check()
        ledgers = [ledger for _, ledger in workshop.open_ledgers(roots)]  # with what workers have stored
        return _publish(run, made, capabilities, ledgers, account)


async def _work(run: OpenRun, shop: Shop) -> Made:
    """Explain all, then calibrate, then score: baselines and calibrations are made of all features' labels."""
    spec = run.spec
    with progress("explain", len(run.selected), "features") as meter:
        labels = await shop.explain(run.selected, meter)
    densities = {item.feature: item.density for item in run.selected}
    listed = contests(labels, densities, spec.baseline.num_shuffles, spec.seed)
    own = [(contest.feature, contest.claims[0].text) for contest in listed]
    with progress("calibrate", len(own), "features") as meter:
        calibrations = fit_calibrations(await shop.calibration_readings(own, meter))
    with progress("score", len(listed), "features") as meter:
        return Made(labels, calibrations, await shop.score(listed, calibrations, meter))


def _publish(
    run: OpenRun,
    made: Made,
    capabilities: dict[str, Capabilities],
    ledgers: Sequence[Ledger],
    account: Account,
) -> LabelManifest:
    record = RunRecord(
        run.spec, run.run_id, run.artifact, run.features, made.calibrations, run.qualified, capabilities
    )
    manifest = publish_run(run.store, record, made.labels, made.scores, ledgers, account)
    for ledger in ledgers:
        ledger.seal()
    return manifest


def _announce(run: OpenRun, expected: Plan) -> None:
    logger.info("\n".join(expected.lines()))
    limits = run.spec.budget
    if limits.max_tokens is not None and expected.num_tokens > limits.max_tokens:
        logger.warning(
            "about %d tokens are needed, budget.max_tokens is %d.", expected.num_tokens, limits.max_tokens
        )
    if limits.max_cost is not None and (expected.cost or 0) > limits.max_cost:
        logger.warning("about %g are needed, budget.max_cost is %g.", expected.cost, limits.max_cost)
    for endpoint in (run.spec.endpoint, run.spec.explainer_endpoint):
        if endpoint.revision == UNSTATED:
            logger.warning(
                "The revision of %s is unstated: answers of other runs are taken for a day only, and only where the "
                "server names the same weights. State the endpoint's revision to keep them.",
                endpoint.model,
            )
