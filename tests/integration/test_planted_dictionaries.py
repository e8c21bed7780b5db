"""Every architecture finds planted features in superposition: directions at random, from random first weights.

The bound was stated before the first run of it.
"""

from collections.abc import Iterator

import pytest
import torch

from fixtures.pair_fits import ARCHITECTURES, PairFit, pair_spec
from fixtures.superposition import Superposition
from thresher.dictionary.target.pair_layout import PairLayout

WIDTH, NUM_LATENTS, NUM_STEPS = 32, 80, 1000
LEAST_MEAN_COSINE = 0.85


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_planted_features_are_found(name: str, seed: int) -> None:
    planted = Superposition.hard(WIDTH, seed)
    architecture = {**ARCHITECTURES[name], "num_latents": NUM_LATENTS, "initial_decoder": "random"}
    rows = planted.rows(40_000, seed=seed + 1)
    fit = PairFit(pair_spec(architecture, num_steps=NUM_STEPS), PairLayout((WIDTH,), (WIDTH,)), *rows)
    trainer = fit.trainer()
    fit.train(trainer)
    assert planted.recovery(trainer.dictionary().W_dec_FE).mean() > LEAST_MEAN_COSINE
