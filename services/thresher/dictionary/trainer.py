"""One optimiser step after another, and the whole state between two of them.

Shape suffixes: B rows of this worker, D width of the activations, F latents.
"""

from dataclasses import dataclass

import torch

from thresher.dictionary.batch_topk import BatchTopKObjective, Losses, Weights
from thresher.dictionary.collectives import copy_from_first_worker, sum_over_workers
from thresher.dictionary.initialise import initial_weights, input_statistics
from thresher.dictionary.optimiser import MOMENTS, Adam, initial_moments
from thresher.dictionary.spec import FitSpec
from thresher.latents.kernels import SparseCodes


@dataclass
class TrainingState:
    """Everything that the next step depends on, on the CPU."""

    step: int
    """Steps done."""
    scale: float
    variance: float
    tensors: dict[str, torch.Tensor]
    """Weights, their two moments as `{moment}.{weight}`, and rows_since_active of each latent."""


@dataclass(frozen=True)
class StepReport:
    """Over the global batch; tensors, so that reading them is what waits for the device."""

    reconstruction_loss: torch.Tensor
    auxiliary_loss: torch.Tensor
    num_active: torch.Tensor
    num_dead: torch.Tensor


def initial_state(spec: FitSpec, x_ND: torch.Tensor) -> TrainingState:
    """State before the first step, from a sample of rows; SpecError if they do not vary."""
    statistics = input_statistics(x_ND)
    weights = initial_weights(spec.architecture.num_latents, statistics.centre_D, spec.training.seed).named()
    idle_F = torch.zeros(spec.architecture.num_latents, dtype=torch.int64)
    tensors = {**weights, **initial_moments(weights), "rows_since_active": idle_F}
    return TrainingState(step=0, scale=statistics.scale, variance=statistics.variance, tensors=tensors)


def learning_rate_at(spec: FitSpec, step: int) -> float:
    """Linear rise, constant, linear fall to 0 at the last step."""
    total = spec.training.num_steps
    warmup, decay = spec.training.warmup_fraction * total, spec.training.decay_fraction * total
    rise = (step + 1) / warmup if warmup else 1.0
    fall = (total - step) / decay if decay else 1.0
    return spec.learning_rate * min(rise, fall, 1.0)


class Trainer:
    """Trains from a state; every worker begins with the first worker's."""

    def __init__(self, spec: FitSpec, state: TrainingState, device: torch.device) -> None:
        self._spec = spec
        scalars = torch.tensor([state.step, state.scale, state.variance], dtype=torch.float64, device=device)
        step, scale, variance = copy_from_first_worker(scalars).tolist()
        self._step, self._scale = int(step), float(scale)
        # sorted: workers must broadcast in one order, and a loaded checkpoint comes in any
        tensors = {
            name: copy_from_first_worker(state.tensors[name].to(device, copy=True))
            for name in sorted(state.tensors)
        }
        self._idle_rows_F = tensors["rows_since_active"]
        self.weights = Weights(
            *(tensors[name].requires_grad_() for name in ("W_enc", "b_enc", "W_dec", "b_dec"))
        )
        self._adam = Adam(
            self.weights.named(),
            {name: tensor for name, tensor in tensors.items() if name.startswith(MOMENTS)},
            num_steps=self._step,
            betas=spec.training.adam_betas,
            epsilon=spec.training.adam_epsilon,
            unit_norm={"W_dec": [self.weights.b_dec_D.numel()]},
        )
        self._objective = BatchTopKObjective(
            spec.architecture.k, spec.k_aux(self.weights.b_dec_D.numel()), variance
        )

    @property
    def num_steps(self) -> int:
        """Steps done, by earlier runs too."""
        return self._step

    @property
    def scale(self) -> float:
        """What inputs are multiplied by."""
        return self._scale

    def step(self, x_BD: torch.Tensor) -> StepReport:
        """Take one step on this worker's part of a global batch, in the units of the harvest."""
        dead_F = self._idle_rows_F >= self._spec.training.dead_after_rows
        global_rows = self._spec.training.batch_rows
        losses = self._objective.losses(self.weights, x_BD * self._scale, dead_F, global_rows)
        self._adam.zero_grad()
        loss = losses.reconstruction + self._spec.architecture.aux_coefficient * losses.auxiliary
        torch.autograd.backward(loss)
        for weight in self.weights.named().values():
            assert weight.grad is not None
            sum_over_workers(weight.grad)
        report = self._report(losses, dead_F)
        self._adam.step(learning_rate_at(self._spec, self._step))
        self._step += 1
        return report

    def state(self) -> TrainingState:
        """A copy, on the CPU."""
        kept = {**self.weights.named(), **self._adam.moments}
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in kept.items()}
        tensors["rows_since_active"] = self._idle_rows_F.cpu().clone()
        return TrainingState(self._step, self._scale, self._objective.variance, tensors)

    def _report(self, losses: Losses, dead_F: torch.Tensor) -> StepReport:
        self._count_idle_rows(losses.codes)
        sums = torch.stack([losses.reconstruction.detach(), losses.auxiliary.detach()]).double()
        active = torch.tensor([losses.codes.latents.numel()], dtype=torch.float64, device=sums.device)
        reconstruction, auxiliary, num_active = sum_over_workers(torch.cat([sums, active])).unbind()
        return StepReport(reconstruction, auxiliary, num_active, dead_F.sum())

    def _count_idle_rows(self, codes: SparseCodes) -> None:
        active_F = torch.zeros_like(self._idle_rows_F)
        active_F[codes.latents] = 1
        self._idle_rows_F += self._spec.training.batch_rows
        self._idle_rows_F[sum_over_workers(active_F) > 0] = 0
