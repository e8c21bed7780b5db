"""Adam over named weights, with moments that a checkpoint holds."""

from collections.abc import Mapping

import torch

from thresher.dictionary.architectures.objective import Weights
from thresher.dictionary.spec import TrainingSpec

MOMENTS = ("exp_avg", "exp_avg_sq")  # Adam's names for them


def initial_moments(weights: Weights) -> dict[str, torch.Tensor]:
    """Zeros, by `{moment}.{weight}`."""
    return {
        f"{moment}.{name}": torch.zeros_like(weight) for name, weight in weights.items() for moment in MOMENTS
    }


class Adam:
    """Updates weights and moments in place."""

    def __init__(
        self, weights: Weights, moments: Mapping[str, torch.Tensor], step: int, spec: TrainingSpec
    ) -> None:
        self.moments = dict(moments)
        self._adam = torch.optim.Adam(
            weights.values(), betas=spec.adam_betas, eps=spec.adam_epsilon, fused=True
        )
        for name, weight in weights.items():
            done = torch.tensor(step, dtype=torch.float32, device=weight.device)
            self._adam.state[weight] = {
                "step": done,
                **{moment: self.moments[f"{moment}.{name}"] for moment in MOMENTS},
            }

    def step(self, learning_rate: float) -> None:
        """One step along the weights' gradients."""
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._adam.step()

    def forget(self, name: str, latents_N: torch.Tensor) -> None:
        """Set the moments of some latents to zero."""
        for moment in MOMENTS:
            self.moments[f"{moment}.{name}"][latents_N] = 0
