"""Specs of architectures: what cannot be is refused with the mend, and schedules are functions of the step."""

import pytest

from fixtures.pair_fits import ARCHITECTURES, pair_spec
from thresher.contracts.errors import SpecError
from thresher.dictionary.architectures.schedules import annealed_p, warmed_up
from thresher.dictionary.architectures.spec import MatryoshkaSpec


@pytest.mark.parametrize(
    ("name", "values", "field"),
    [
        ("topk", {"k": 160}, "architecture.k"),
        ("matryoshka", {"prefixes": [10, 5, 160]}, "architecture.prefixes"),
        ("matryoshka", {"prefixes": [10, 40]}, "architecture.prefixes"),
        ("matryoshka", {"prefixes": [0, 160]}, "architecture.prefixes"),
        ("matryoshka", {"prefix_weights": [1.0]}, "architecture.prefix_weights"),
        ("jumprelu_tanh", {"target_l0": 5}, "architecture.target_l0"),
        ("jumprelu", {"initial_l0": 160}, "architecture.initial_l0"),
        ("relu", {"penalty": "l7"}, "penalty"),
        ("relu", {"kind": "sigmoid"}, "architecture"),
        ("gated", {"k": 3}, "k"),
        ("relu", {"resample_at": [1.5]}, "resample_at"),
    ],
)
def test_what_cannot_be_is_refused(name: str, values: dict[str, object], field: str) -> None:
    with pytest.raises(SpecError, match=field):
        pair_spec({**ARCHITECTURES[name], **values})


def test_prefixes_halve_by_default() -> None:
    assert MatryoshkaSpec(kind="matryoshka", num_latents=160, k=3).widths == (10, 20, 40, 80, 160)
    assert MatryoshkaSpec(kind="matryoshka", num_latents=5, k=3).widths == (1, 2, 5)


def test_penalties_rise_and_p_falls() -> None:
    assert [warmed_up(step, 100, 0.1) for step in (0, 4, 9, 50)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert warmed_up(0, 100, 0.0) == 1.0
    assert [annealed_p(step, 101, 0.5, 0.2) for step in (0, 50, 75, 100)] == pytest.approx(
        [1.0, 1.0, 0.6, 0.2], abs=0.01
    )
    assert annealed_p(0, 1, 0.0, 0.2) == 1.0
