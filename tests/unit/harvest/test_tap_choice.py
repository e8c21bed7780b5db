import pytest

from thresher.contracts.errors import SpecError
from thresher.harvest.families import EAGLE3_ARCHITECTURES, FAMILIES
from thresher.harvest.spec import HarvestSpec
from thresher.harvest.tap_choice import reads_auxiliary_outputs

LLAMA = "LlamaForCausalLM"


def _spec(*sites: str, **engine: object) -> HarvestSpec:
    return HarvestSpec.parse(
        {"root": "file:///r", "corpus": "c", "model": "m", "sites": list(sites), "engine": engine}
    )


@pytest.mark.parametrize(
    ("engine", "sites", "architecture", "is_cpu", "expected"),
    [
        ({}, ["resid_post.1", "resid_post.9"], LLAMA, False, True),
        ({}, ["resid_post.1"], LLAMA, True, False),
        ({}, ["resid_post.1", "mlp_out.1"], LLAMA, False, False),
        ({}, ["resid_post.1"], "GPT2LMHeadModel", False, False),
        ({"pipeline_parallel": 2}, ["resid_post.1"], LLAMA, False, False),
        ({"taps": "hooks"}, ["resid_post.1"], LLAMA, False, False),
        ({"taps": "aux"}, ["resid_post.1"], LLAMA, True, True),
    ],
)
def test_auxiliary_outputs_are_read_where_they_serve(engine, sites, architecture, is_cpu, expected):
    assert reads_auxiliary_outputs(_spec(*sites, **engine), architecture, is_cpu=is_cpu) is expected


@pytest.mark.parametrize(
    ("site", "architecture", "stages"),
    [("attn_out.1", LLAMA, 1), ("resid_post.1", "Gemma2ForCausalLM", 1), ("resid_post.1", LLAMA, 2)],
)
def test_auxiliary_outputs_that_are_not_there_are_refused(site, architecture, stages):
    with pytest.raises(SpecError, match="resid_post sites of Ernie4_5ForCausalLM, LlamaForCausalLM"):
        reads_auxiliary_outputs(_spec(site, taps="aux", pipeline_parallel=stages), architecture, is_cpu=False)


def test_every_architecture_with_auxiliary_outputs_is_a_known_family():
    assert set(FAMILIES) > EAGLE3_ARCHITECTURES
