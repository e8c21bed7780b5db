"""Every example of a fit and of a sweep, as its file stands, on a harvest like the demo's."""

from pathlib import Path

import numpy as np
import pytest

from fixtures.harvests import planted_rows, unit_features, write_harvest
from thresher.contracts import paths
from thresher.dictionary.job import FitJob
from thresher.dictionary.prepare import check_fit, claim_fit
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.sweep.packs import pack
from thresher.dictionary.sweep.spec import SweepSpec
from thresher.dictionary.training.train_loop import train_and_publish
from thresher.latents.weights import load_encoder
from thresher.storage import ObjectStore, open_store

CONFIGS = Path(__file__).parents[2] / "jobs" / "configs"
FITS = sorted((CONFIGS / "fit").glob("*.yaml"))
SWEEPS = sorted((CONFIGS / "sweep").glob("*.yaml"))
WIDTH, LENGTH, NUM_SEQUENCES = 576, 64, 400
MAX_FVU = {"random_directions": 1.0, "k_means": 0.95}
"""Of examples that a few dozen steps should not make much of; of the others 0.8."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    """Rows of two sites made of the same features, a second harvest of others."""
    store = open_store(f"file://{tmp_path_factory.mktemp('examples')}")
    for index, harvest_id in enumerate(("harvest", "other")):
        codes = planted_rows(
            LENGTH * NUM_SEQUENCES, unit_features(400, WIDTH), active=4, noise=0.01, seed=index
        )
        turned = np.linalg.qr(np.random.default_rng(5).standard_normal((WIDTH, WIDTH)))[0].astype(np.float32)
        sites = {"resid_post.9": 5 * codes, "resid_post.18": 20 * codes @ turned + 1}
        splits = {"fit": 330, "report": 70}
        write_harvest(store, sites, sequence_length=LENGTH, splits=splits, harvest_id=harvest_id)
    return store


@pytest.mark.parametrize("file", FITS, ids=lambda file: file.stem)
def test_an_example_fits(store: ObjectStore, file: Path) -> None:
    given = [f"root={store.url}", "harvest=harvest"]
    if file.stem == "mixture":
        given.append("mixture=[{harvest: other, weight: 0.5}]")
    spec = FitSpec.load(file, given)
    claimed = claim_fit(store, check_fit(store, spec))
    train_and_publish(FitJob(spec, claimed.version, claimed.fit_id))
    made = claimed.read(store)
    encoder, _ = load_encoder(store, str(made.ref()))
    assert (encoder.d_in, encoder.d_out) == (made.d_in, made.d_out)
    assert made.metrics is not None
    assert made.metrics.fvu < MAX_FVU.get(file.stem, 0.8)
    assert 0 < made.metrics.l0 < made.num_latents


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_an_example_of_a_sweep_fits_on_one_read(store: ObjectStore, file: Path) -> None:
    spec = SweepSpec.load(file, [f"fit.root={store.url}", "fit.harvest=harvest"])
    [together] = pack([check_fit(store, fit) for fit in spec.fits()], spec.memory_gib)
    claimed = [claim_fit(store, fit) for fit in together]
    train_and_publish(*(FitJob(fit.spec, fit.version, fit.fit_id) for fit in claimed))
    made = [fit.read(store) for fit in claimed]
    assert len(made) == 8
    for kind in ("topk", "batch_topk"):
        l0 = [item.metrics.l0 for item in made if item.architecture == kind]
        assert l0 == pytest.approx([8, 16, 32, 64], rel=0.2)
    assert max(item.metrics.fvu for item in made) < 0.8
    assert all(store.head(paths.manifest(fit.artifact)) is not None for fit in claimed)
