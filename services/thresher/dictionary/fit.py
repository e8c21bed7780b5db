"""Fits a dictionary to sites of a harvest, on a Ray cluster."""

from thresher.contracts.manifests import DictionaryManifest
from thresher.dictionary.prepare import check_fit, claim_fit, verify_rows
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.training.ray_training import FitFailedError, fault_of, rows_done, train_on_ray
from thresher.dictionary.training.run_progress import ProgressFollower
from thresher.runtime.progress import progress
from thresher.runtime.ray_cluster import connect
from thresher.storage import open_store


def fit(spec: FitSpec) -> DictionaryManifest:
    """Fit the dictionary, or go on with it, or find it made.

    Uses the Ray cluster that the process is connected to, or else starts one on this machine.

    Raises:
        SpecError: the spec does not fit the harvest.
        MissingArtifactError: there is no such harvest.
        IntegrityError: a shard is damaged.
        AlreadyExistsError: the version was made from another spec.
        FitFailedError: training diverged, or its workers failed more often than allowed.
    """
    store = open_store(spec.root)
    checked = check_fit(store, spec)
    claimed = claim_fit(store, checked)
    if (made := claimed.find(store)) is not None:
        return made
    verify_rows(store, checked.harvests)
    before = rows_done(store, claimed)
    connect()
    with (
        progress("fit", claimed.num_rows, "rows", done=before) as meter,
        ProgressFollower(store, {claimed.artifact: before}, meter),
    ):
        train_on_ray([claimed])
    if (fault := fault_of(store, claimed)) is not None:
        raise FitFailedError(fault)
    return claimed.read(store)
