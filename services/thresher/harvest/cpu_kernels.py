"""vLLM's compiled CPU kernels for norms, which on x86 it leaves for chains of torch operations.

They hold a row in registers where the chains write each step to memory: a sixth of a small model's prefill. Importing
this file registers them with vLLM as another provider's; NORM_PRIORITY chooses them. (Its kernel for gated MLPs is
slower than torch's two operations.)
"""

import torch
from vllm import ir
from vllm.platforms import current_platform

PROVIDER = "thresher_cpu"
NORM_PRIORITY = {"rms_norm": [PROVIDER], "fused_add_rms_norm": [PROVIDER]}
"""Of the engine's arguments: these kernels where they take what is given, else what vLLM would choose."""
VALUES_A_STEP = 16
"""Of a row that the kernels take at once."""

current_platform.import_kernels()


def _takes(x: torch.Tensor, weight: torch.Tensor | None, variance_size: int | None) -> bool:
    return (
        variance_size is None
        and weight is not None
        and weight.dtype == x.dtype
        and x.is_contiguous()
        and x.shape[-1] % VALUES_A_STEP == 0
    )


def _takes_norm(
    x: torch.Tensor, weight: torch.Tensor | None, epsilon: float, variance_size: int | None = None
) -> bool:
    return _takes(x, weight, variance_size)


def _takes_add_and_norm(
    x: torch.Tensor,
    x_residual: torch.Tensor,
    weight: torch.Tensor | None,
    epsilon: float,
    variance_size: int | None = None,
) -> bool:
    return _takes(x, weight, variance_size) and x_residual.is_contiguous() and x_residual.dtype == x.dtype


@ir.ops.rms_norm.register_impl(PROVIDER, supports_args=_takes_norm)  # type: ignore[untyped-decorator]
def rms_norm(
    x: torch.Tensor, weight: torch.Tensor | None, epsilon: float, variance_size: int | None = None
) -> torch.Tensor:
    """Rows of x over their root mean square, times the weight."""
    out = torch.empty_like(x)
    torch.ops._C.rms_norm(out, x, weight, epsilon)
    return out


@ir.ops.fused_add_rms_norm.register_impl(PROVIDER, supports_args=_takes_add_and_norm, inplace=True)  # type: ignore[untyped-decorator]
def fused_add_rms_norm(
    x: torch.Tensor,
    x_residual: torch.Tensor,
    weight: torch.Tensor | None,
    epsilon: float,
    variance_size: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """x becomes the norm of the sum, x_residual the sum."""
    torch.ops._C.fused_add_rms_norm(x, x_residual, weight, epsilon)
    return x, x_residual
