import pytest

from thresher.contracts.errors import SpecError
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.target.spec import SiteOfHarvest

BASE = {
    "root": "file:///x",
    "harvest": "h",
    "name": "n",
    "architecture": {"kind": "batch_topk", "num_latents": 10, "k": 2},
    "training": {"num_steps": 3},
}


def spec(target: dict[str, object], **more: object) -> FitSpec:
    return FitSpec.parse({**BASE, "target": target, **more})


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ({"site": "a.1"}, "target"),
        ({"kind": "decoder", "site": "a.1"}, "target"),
        ({"kind": "autoencoder"}, "target.autoencoder.site"),
        ({"kind": "autoencoder", "site": "nowhere"}, "target.site"),
        ({"kind": "autoencoder", "site": "a.1", "skip": True}, "target.autoencoder.skip"),
        ({"kind": "transcoder", "input_site": "a.1"}, "target.transcoder.output_site"),
        ({"kind": "transcoder", "input_site": "a.1", "output_site": "b"}, "target.output_site"),
        ({"kind": "transcoder", "input_site": "a", "output_site": "b.1"}, "target.input_site"),
        ({"kind": "crosscoder", "sites": [{"site": "a.1"}]}, "target.sites"),
        ({"kind": "crosscoder", "sites": [{"site": "a.1"}, {"site": "a.1"}]}, "target.sites"),
        ({"kind": "crosscoder", "sites": [{"site": "a.1"}, {"site": "b"}]}, "target.sites"),
        ({"kind": "layer_group", "sites": ["a.1"]}, "target.sites"),
        ({"kind": "layer_group", "sites": ["a.1", "a.1"]}, "target.sites"),
    ],
)
def test_a_target_that_is_none_is_refused_by_its_field(target: dict[str, object], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec(target)
    assert caught.value.field == field


@pytest.mark.parametrize("weight", [0, -1, 1e-4, 1e4])
def test_weights_are_moderate(weight: float) -> None:
    with pytest.raises(SpecError, match=r"mixture\.0"):
        spec({"kind": "autoencoder", "site": "a.1"}, mixture=[{"harvest": "g", "weight": weight}])


def test_the_old_key_is_refused() -> None:
    with pytest.raises(SpecError, match=r"site: cannot use 'a.1'.*target"):
        spec({"kind": "autoencoder", "site": "a.1"}, site="a.1")


def test_a_crosscoder_may_take_one_site_of_two_harvests() -> None:
    sites = [{"site": "a.1"}, {"site": "a.1", "harvest": "other"}]
    target = spec({"kind": "crosscoder", "sites": sites}).target
    assert list(target.inputs) == [SiteOfHarvest("a.1"), SiteOfHarvest("a.1", "other")]
    assert list(target.outputs) == list(target.inputs)


def test_what_is_read_enters_the_id_and_how_does_not() -> None:
    base = spec({"kind": "autoencoder", "site": "a.1"})
    assert (
        spec({"kind": "autoencoder", "site": "a.1"}, cache_gib=1, memory_gib=2).identity() == base.identity()
    )
    assert base.identity()["target"] == {"kind": "autoencoder", "site": "a.1"}
    blocks = {"num_steps": 3, "shuffle": {"kind": "blocks"}}
    assert spec({"kind": "autoencoder", "site": "a.1"}, training=blocks).identity() != base.identity()
    mixture = [{"harvest": "g", "weight": 0.5}]
    assert spec({"kind": "autoencoder", "site": "a.1"}, mixture=mixture).identity() != base.identity()
