"""Whether rows are read by hooks or as the model's auxiliary outputs: known before an engine is built."""

from thresher.contracts.errors import SpecError
from thresher.contracts.sites import Site
from thresher.harvest.families import EAGLE3_ARCHITECTURES
from thresher.harvest.spec import HarvestSpec


def reads_auxiliary_outputs(spec: HarvestSpec, architecture: str, *, is_cpu: bool) -> bool:
    """Whether to read auxiliary outputs, which keep CUDA graphs where forward hooks need eager mode.

    Raises:
        SpecError: `engine.taps` asks for them, and the model or a site has none.
    """
    is_residual = all(Site.parse(site).kind == "resid_post" for site in spec.sites)
    has_them = architecture in EAGLE3_ARCHITECTURES and spec.engine.pipeline_parallel == 1 and is_residual
    if spec.engine.taps == "aux" and not has_them:
        raise SpecError(
            "engine.taps",
            "aux",
            allowed=["hooks", "auto"],
            mend=f"Auxiliary outputs are the resid_post sites of {', '.join(sorted(EAGLE3_ARCHITECTURES))}, in one "
            f"pipeline stage; this harvest is of {', '.join(spec.sites)} of {architecture}.",
        )
    return spec.engine.taps == "aux" or (spec.engine.taps == "auto" and has_them and not is_cpu)
