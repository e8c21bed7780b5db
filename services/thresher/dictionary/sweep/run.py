"""Runs a sweep: what is made is found, the rest is trained in packs, as many at once as the cluster has workers for."""

from collections.abc import Sequence

import ray

from thresher.contracts.manifests import DictionaryManifest
from thresher.dictionary.prepare import ClaimedFit, check_fit, claim_fit, verify_rows
from thresher.dictionary.sweep.packs import pack
from thresher.dictionary.sweep.spec import SweepSpec
from thresher.dictionary.training.ray_training import FitFailedError, fault_of, rows_done, train_on_ray
from thresher.dictionary.training.run_progress import ProgressFollower
from thresher.runtime.progress import progress
from thresher.runtime.ray_cluster import connect
from thresher.storage import ObjectStore, open_store


def sweep(spec: SweepSpec) -> list[DictionaryManifest]:
    """Fit every dictionary of the grid, or go on with them, or find them made; in the order of the grid.

    One that diverges does not stop the others.

    Raises:
        SpecError: a fit does not suit its harvest, or no worker has the memory for one.
        MissingArtifactError: there is no such harvest.
        IntegrityError: a shard is damaged.
        FitFailedError: some diverged, or workers failed more often than allowed; the others stand.
    """
    store = open_store(spec.root)
    checked = [check_fit(store, fit) for fit in spec.fits()]
    packs = pack(checked, spec.memory_gib)
    claimed = {fit.fit_id: claim_fit(store, fit) for fit in checked}
    unmade = [
        [claimed[fit.fit_id] for fit in group if claimed[fit.fit_id].find(store) is None] for group in packs
    ]
    for group, left in zip(packs, unmade, strict=True):
        if left:
            verify_rows(store, group[0].harvests)
    _train(store, [left for left in unmade if left])
    return [claimed[fit.fit_id].read(store) for fit in checked]


def _train(store: ObjectStore, packs: Sequence[Sequence[ClaimedFit]]) -> None:
    fits = [fit for group in packs for fit in group]
    if not fits:
        return
    before = {fit.artifact: rows_done(store, fit) for fit in fits}
    connect()
    total = sum(fit.num_rows for fit in fits)
    with (
        progress("sweep", total, "rows", done=sum(before.values())) as meter,
        ProgressFollower(store, before, meter),
    ):
        faults = _run_packs(packs)
    faults += [
        f"{fit.spec.name}@{fit.version}: {fault}"
        for fit in fits
        if (fault := fault_of(store, fit)) is not None
    ]
    if faults:
        raise FitFailedError("\n".join(faults))


def _run_packs(packs: Sequence[Sequence[ClaimedFit]]) -> list[str]:
    """Each pack by a driver of its own, which waits for workers; the faults of those that failed."""
    driver = ray.remote(num_cpus=0, max_retries=0)(_train_pack)
    return [fault for fault in ray.get([driver.remote(list(group)) for group in packs]) if fault is not None]


def _train_pack(fits: Sequence[ClaimedFit]) -> str | None:
    try:
        train_on_ray(fits)
    except FitFailedError as error:
        return str(error)
    return None
