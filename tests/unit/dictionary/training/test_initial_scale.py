"""How large codes begin: at the size at which the first dictionary reconstructs best, or a share of it."""

from dataclasses import replace

import pytest
import torch

from fixtures.pair_fits import ARCHITECTURES, CPU, PairFit, pair_spec
from fixtures.superposition import Superposition
from thresher.dictionary.evaluation import calibrated
from thresher.dictionary.target.pair_layout import PairLayout
from thresher.dictionary.training.initial_scale import RANKED_SHARE
from thresher.dictionary.training.trainer import Trainer

LAYOUT = PairLayout((24,), (24,))


@pytest.mark.parametrize("name", ["topk", "batch_topk", "relu", "gated", "jumprelu", "jumprelu_target"])
def test_codes_begin_at_their_best_size_or_at_a_tenth_of_it(name: str) -> None:
    planted = Superposition.random(24)
    x_ND = planted.rows(1024, seed=1)[0]
    fit = PairFit(pair_spec({**ARCHITECTURES[name], "initial_decoder": "random"}), LAYOUT, x_ND, x_ND)
    encoder = calibrated(
        Trainer(fit.spec, LAYOUT, fit.initial(), CPU).dictionary(), fit.spec, [x_ND], len(x_ND)
    )
    codes = encoder.encode(x_ND)

    def error(factor: float) -> float:
        larger = replace(codes, values=codes.values * factor)
        return float((encoder.decode(larger, x_ND) - x_ND).square().sum())

    best = 1 / RANKED_SHARE if name in ("topk", "batch_topk") else 1.0
    assert error(best) < min(error(0.97 * best), error(1.03 * best))
    assert error(best) < float((x_ND - encoder.b_dec_E).square().sum()), "better than b_dec alone"
    assert torch.isfinite(codes.values).all()
