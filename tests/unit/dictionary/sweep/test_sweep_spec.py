"""What a grid makes of a fit's spec, and what is refused."""

from typing import Any

import pytest

from thresher.contracts.errors import SpecError
from thresher.dictionary.sweep.spec import SweepSpec

FIT = {
    "root": "file:///store",
    "harvest": "h",
    "target": {"kind": "autoencoder", "site": "resid_post.1"},
    "name": "swept",
    "architecture": {"kind": "topk", "num_latents": 1024, "k": 8},
    "training": {"num_steps": 10},
}


def sweep(grid: dict[str, Any], **fit: Any) -> SweepSpec:
    return SweepSpec.parse({"fit": {**FIT, **fit}, "grid": grid})


def test_every_combination_is_a_fit_and_the_last_key_varies_fastest() -> None:
    spec = sweep({"architecture.k": [8, 16], "training.learning_rate": [1e-3, 1e-4, 1e-5]})
    found = [(fit.architecture.k, fit.training.learning_rate) for fit in spec.fits()]
    assert found == [(8, 1e-3), (8, 1e-4), (8, 1e-5), (16, 1e-3), (16, 1e-4), (16, 1e-5)]
    assert {fit.architecture.num_latents for fit in spec.fits()} == {1024}


def test_a_whole_section_can_be_replaced() -> None:
    kinds = [
        {"kind": "topk", "num_latents": 64, "k": 4},
        {"kind": "relu", "num_latents": 64, "coefficient": 1.0},
    ]
    assert [fit.architecture.kind for fit in sweep({"architecture": kinds}).fits()] == ["topk", "relu"]


def test_the_fits_do_not_share_their_sections() -> None:
    section = {"kind": "topk", "num_latents": 64, "k": 4}
    spec = sweep({"architecture": [section], "architecture.k": [4, 2]})
    assert [fit.architecture.k for fit in spec.fits()] == [4, 2]
    assert section["k"] == 4


@pytest.mark.parametrize(
    ("grid", "fit", "field", "words"),
    [
        ({}, {}, "grid", "at least 1 item"),
        ({"architecture.k": []}, {}, "grid.architecture.k", "at least one value"),
        ({"architecture.k": [8, 8]}, {}, "grid", "are the same"),
        ({"architecture.q": [8]}, {}, "fit.architecture", "q"),
        ({"architecture.k": [8]}, {"root": 3}, "fit.root", "string"),
        ({"architecture.k": [4096]}, {}, "architecture", "k"),
        ({"harvest.id": ["x"]}, {}, "grid.harvest.id", "single value"),
        ({"architecture.k": [8]}, {"version": "3"}, "fit.version", "next free version"),
        ({"architecture.k": list(range(1, 1000)), "training.seed": [1, 2]}, {}, "grid", "several sweeps"),
    ],
)
def test_what_is_no_sweep_is_refused(
    grid: dict[str, Any], fit: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        sweep(grid, **fit)
    assert field in str(caught.value)
