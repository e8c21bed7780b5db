"""One label run: choose features, explain them, score the labels and the baseline, publish.

The same spec resumes: stored answers are read back, only missing ones are asked for.
"""

import logging

from thresher.contracts import paths
from thresher.contracts.manifests import LabelManifest
from thresher.contracts.states import State
from thresher.labeling.budget.budget import Budget
from thresher.labeling.budget.estimate import SAMPLE_SIZE
from thresher.labeling.guard import RunGuard
from thresher.labeling.opening import OpenRun, open_run, read_features, run_id_of
from thresher.labeling.publish import RunRecord, publish_run
from thresher.labeling.scorers.calibration import fit_calibrations
from thresher.labeling.scores import contests
from thresher.labeling.spec import LabelSpec
from thresher.labeling.workshop import Shop, Workshop
from thresher.runtime.progress import progress
from thresher.storage import open_store
from thresher.storage.artifacts import find_record, record_bytes

logger = logging.getLogger(__name__)


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


def estimate(spec: LabelSpec) -> int:
    """Tokens that `label` would take at the most; asks nothing of a model. Raises: as label, before it asks."""
    run = open_run(spec)
    shop = Workshop(run, run.ledger(), Budget(None))
    shop.open_book(_sample(run))
    return shop.estimate(run.selected)


async def _label(run: OpenRun, guard: RunGuard) -> LabelManifest:
    spec, ledger = run.spec, run.ledger()
    budget = Budget(spec.budget.max_tokens, ledger.num_tokens_paid())
    async with Workshop(run, ledger, budget) as workshop:
        is_fanned_out = spec.workers > 1
        workshop.open_book(_sample(run) if is_fanned_out else [item.feature for item in run.selected])
        _announce(run, workshop.estimate(run.selected))
        await workshop.probe()
        run.store.put(paths.spec(run.artifact), record_bytes(spec))
        if is_fanned_out:
            from thresher.labeling.fan_out.driver import FanOut

            async with FanOut(run, budget) as shop:
                return await _work(run, shop, budget, guard)
        return await _work(run, workshop, budget, guard)


async def _work(run: OpenRun, shop: Shop, budget: Budget, guard: RunGuard) -> LabelManifest:
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
        scores = await shop.score(listed, calibrations, meter)
    if budget.exhausted:
        logger.warning(
            "budget.max_tokens = %d is reached: the rest is in state over_budget.", spec.budget.max_tokens
        )
    guard.check()
    record = RunRecord(spec, run.run_id, run.artifact, run.features, calibrations, run.qualified)
    return publish_run(run.store, record, labels, scores, run.ledger())


def _announce(run: OpenRun, num_tokens: int) -> None:
    limit = run.spec.budget.max_tokens
    logger.info("%d features will take about %d tokens.", len(run.selected), num_tokens)
    if limit is not None and num_tokens > limit:
        logger.warning("about %d tokens are needed, budget.max_tokens is %d.", num_tokens, limit)


def _sample(run: OpenRun) -> list[int]:
    """The features that an estimate looks at."""
    return [item.feature for item in run.selected if item.state == State.OK][:SAMPLE_SIZE]
