"""One optimiser step after another, and the whole state between two of them.

Shape suffixes: B rows of this worker, D width of the input, E width of the output, F latents.
"""

import math
from dataclasses import dataclass

import torch

from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.architectures.build import build_objective
from thresher.dictionary.architectures.decoder_norms import remove_radial_part
from thresher.dictionary.architectures.objective import Losses, Problem, latent_weights
from thresher.dictionary.architectures.spec import PenaltySpec, TrainedSpec
from thresher.dictionary.folding import fold
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.target.pair_layout import PairLayout
from thresher.dictionary.training import resampling
from thresher.dictionary.training.collectives import copy_from_first_worker, sum_over_workers
from thresher.dictionary.training.initial_scale import with_initial_scale
from thresher.dictionary.training.initialise import RowMaps, check_rows_vary, initial_weights, row_maps
from thresher.dictionary.training.optimiser import MOMENTS, Adam, initial_moments
from thresher.dictionary.training.row_map import RowMap
from thresher.dictionary.training.warm_start import for_architecture, weights_from_encoder
from thresher.latents.encoder import SparseEncoder

IDLE_ROWS = "rows_since_active"
INPUT, OUTPUT = "input.", "output."


@dataclass
class TrainingState:
    """Everything that the next step depends on, on the CPU."""

    step: int
    """Steps done."""
    variance: float
    """Mean squared distance of an output row, as trained on, from the mean row."""
    tensors: dict[str, torch.Tensor]
    """Weights, their two moments as `{moment}.{weight}`, rows_since_active of each latent, and the maps of rows as
    `input.{tensor}` and, where rows are reconstructed from others, `output.{tensor}`."""


@dataclass(frozen=True)
class StepReport:
    """Over the global batch; tensors, so that reading them is what waits for the device."""

    reconstruction_loss: torch.Tensor
    sparsity_loss: torch.Tensor
    auxiliary_loss: torch.Tensor
    num_active: torch.Tensor
    num_dead: torch.Tensor

    @property
    def is_finite(self) -> bool:
        """Whether every part of the loss is a number; waits for the device."""
        return math.isfinite(float(self.reconstruction_loss + self.sparsity_loss + self.auxiliary_loss))


def initial_state(
    spec: FitSpec, layout: PairLayout, sample: RowPairs, start: SparseEncoder | None = None
) -> TrainingState:
    """State before the first step, from a sample of pairs and, where there is one, the dictionary to start from.

    Raises:
        SpecError: the pairs do not vary.
    """
    architecture = spec.trained_architecture
    maps = row_maps(sample, layout, whiten_input=architecture.whiten_input)
    mapped = maps.apply(sample)
    variance = check_rows_vary(mapped.y_BE)
    weights = initial_weights(architecture, layout, mapped, spec.training.seed)
    objective = build_objective(architecture, _problem(spec, layout, variance))
    weights = with_initial_scale(spec, objective, weights, mapped)
    if start is not None:
        weights = for_architecture(_start_weights(start, maps, layout, architecture), weights.keys())
    tensors = {**weights, **initial_moments(weights), **_prefixed(INPUT, maps.input.tensors())}
    if not layout.reconstructs_input:
        tensors |= _prefixed(OUTPUT, maps.output.tensors())
    tensors[IDLE_ROWS] = torch.zeros(architecture.num_latents, dtype=torch.int64)
    return TrainingState(step=0, variance=variance, tensors=tensors)


def _start_weights(
    start: SparseEncoder, maps: RowMaps, layout: PairLayout, architecture: TrainedSpec
) -> dict[str, torch.Tensor]:
    scale_D, scale_E = maps.input.scale_D, maps.output.scale_D
    assert scale_D is not None, "a fit that whitens starts anew"
    assert scale_E is not None, "outputs are only scaled"
    return weights_from_encoder(
        start,
        scale_D,
        scale_E,
        centres_input=layout.centres_input,
        output_widths=layout.output_widths,
        unit_norm=architecture.decoder_norm == "unit",
        skip=layout.skip,
    )


def learning_rate_at(spec: FitSpec, step: int) -> float:
    """Linear rise, constant, linear fall to 0 at the last step."""
    total = spec.training.num_steps
    warmup, decay = spec.training.warmup_fraction * total, spec.training.decay_fraction * total
    rise = (step + 1) / warmup if warmup else 1.0
    fall = (total - step) / decay if decay else 1.0
    return spec.learning_rate * min(rise, fall, 1.0)


class Trainer:
    """Trains from a state; every worker begins with the first worker's."""

    def __init__(self, spec: FitSpec, layout: PairLayout, state: TrainingState, device: torch.device) -> None:
        self._spec, self._layout = spec, layout
        self._architecture: TrainedSpec = spec.trained_architecture
        scalars = torch.tensor([state.step, state.variance], dtype=torch.float64, device=device)
        step, variance = copy_from_first_worker(scalars).tolist()
        self._step = int(step)
        # sorted: workers must broadcast in one order, and a loaded checkpoint comes in any
        tensors = {
            name: copy_from_first_worker(state.tensors[name].to(device, copy=True))
            for name in sorted(state.tensors)
        }
        self._idle_rows_F = tensors.pop(IDLE_ROWS)
        self._maps = _maps_of(tensors)
        self.weights = {name: tensor.requires_grad_() for name, tensor in tensors.items() if "." not in name}
        moments = {name: tensor for name, tensor in tensors.items() if name.startswith(MOMENTS)}
        self._objective = build_objective(self._architecture, _problem(spec, layout, variance))
        self._adam = Adam(
            self.weights,
            moments,
            num_steps=self._step,
            betas=spec.training.adam_betas,
            epsilon=spec.training.adam_epsilon,
            unit_norm={"W_dec": layout.output_widths} if self._architecture.decoder_norm == "unit" else {},
            rate_factors=self._objective.rate_factors,
        )

    @property
    def num_steps(self) -> int:
        """Steps done, by earlier runs too."""
        return self._step

    def dictionary(self) -> SparseEncoder:
        """The dictionary of inference for rows as harvested; thresholds of BatchTopK and Matryoshka are still 0."""
        return fold(self._objective, self.weights, self._maps.input, self._maps.output)

    def step(self, batch: RowPairs) -> StepReport:
        """Take one step on this worker's part of a global batch, in the units of the harvest."""
        batch = self._maps.apply(batch)
        dead_F = self._idle_rows_F >= self._spec.training.dead_after_rows
        losses = self._objective.losses(self.weights, batch, dead_F, self._step)
        for weight in self.weights.values():
            weight.grad = None
        torch.autograd.backward(losses.total)
        report = self._report(losses, dead_F)
        self._update_weights()
        self._resample(batch, losses)
        self._step += 1
        return report

    def is_finite(self) -> bool:
        """Whether every weight is a number; waits for the device."""
        return all(bool(weight.detach().isfinite().all()) for weight in self.weights.values())

    def gradients(self) -> list[torch.Tensor]:
        """Those that the last step was taken on."""
        return [weight.grad for weight in self.weights.values() if weight.grad is not None]

    def state(self) -> TrainingState:
        """A copy, on the CPU."""
        tensors = {**self.weights, **self._adam.moments, **_prefixed(INPUT, self._maps.input.tensors())}
        if not self._layout.reconstructs_input:
            tensors |= _prefixed(OUTPUT, self._maps.output.tensors())
        tensors[IDLE_ROWS] = self._idle_rows_F
        copies = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
        return TrainingState(self._step, self._objective.problem.variance, copies)

    def _report(self, losses: Losses, dead_F: torch.Tensor) -> StepReport:
        num_active_F = sum_over_workers(losses.num_active_F)
        self._idle_rows_F += self._spec.training.batch_rows
        self._idle_rows_F[num_active_F > 0] = 0
        terms = torch.stack([losses.reconstruction, losses.sparsity, losses.auxiliary]).detach().double()
        reconstruction, sparsity, auxiliary = sum_over_workers(terms).unbind()
        return StepReport(reconstruction, sparsity, auxiliary, num_active_F.sum(), dead_F.sum())

    @torch.no_grad()
    def _update_weights(self) -> None:
        """Adam on the sum of all workers' gradients, clipped; unit decoder rows stay on their sphere."""
        gradients = []
        for name, weight in self.weights.items():
            assert weight.grad is not None, name
            gradients.append(sum_over_workers(weight.grad))
        if self._spec.training.max_gradient_norm is not None:
            W_dec_FE = self.weights["W_dec"]
            if self._architecture.decoder_norm == "unit":
                assert W_dec_FE.grad is not None
                remove_radial_part(W_dec_FE.grad, W_dec_FE, self._layout.output_widths)
            _clip(gradients, self._spec.training.max_gradient_norm)
        self._adam.step(learning_rate_at(self._spec, self._step))

    def _resample(self, batch: RowPairs, losses: Losses) -> None:
        """Set dead latents anew, if it is time: they count as alive from now on."""
        spec, training = self._architecture, self._spec.training
        if not isinstance(spec, PenaltySpec) or not resampling.is_due(
            spec.resample_at, self._step, training.num_steps
        ):
            return
        dead_F = self._idle_rows_F >= training.dead_after_rows
        seed = resampling.seed_of(training.seed, self._step)
        latents_N = resampling.resample(
            self._objective, self.weights, batch, losses.residual_BE, dead_F, seed
        )
        self._idle_rows_F[latents_N] = 0
        for name in latent_weights(self.weights):
            self._adam.forget(name, latents_N)


def _problem(spec: FitSpec, layout: PairLayout, variance: float) -> Problem:
    return Problem(layout, variance, spec.training.batch_rows, spec.training.num_steps)


def _maps_of(tensors: dict[str, torch.Tensor]) -> RowMaps:
    found = [
        {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        for prefix in (INPUT, OUTPUT)
    ]
    input_map = RowMap.of_tensors(found[0])
    return RowMaps(input_map, RowMap.of_tensors(found[1]) if found[1] else input_map)


def _prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _clip(gradients: list[torch.Tensor], max_norm: float) -> None:
    """Scale all gradients alike, in place, so that their joint norm is at most max_norm."""
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    factor = (max_norm / norm.clamp(min=1e-12)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor)
