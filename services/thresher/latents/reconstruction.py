"""Quality of a dictionary over a stream of rows, without keeping them.

Shape suffixes: B rows, D width of the activations, F latents.
"""

import torch

from thresher.contracts.manifests import ReconstructionMetrics
from thresher.latents.kernels import SparseCodes


class ReconstructionAccumulator:
    """Explained variance 1 - sum |x - x_hat|^2 / sum |x - mean(x)|^2, L0 and dead latents, in float64.

    The mean is that of all rows added: sums of squares are merged by Chan, Golub and LeVeque (1979), so large
    means cost no precision.
    """

    def __init__(self, d_in: int, num_latents: int) -> None:
        self._num_rows = 0
        self._mean_D = torch.zeros(d_in, dtype=torch.float64)
        self._squared_deviation = 0.0
        self._squared_error = 0.0
        self._num_codes = 0
        self._fired_F = torch.zeros(num_latents, dtype=torch.bool)

    def add(self, x_BD: torch.Tensor, x_hat_BD: torch.Tensor, codes: SparseCodes) -> None:
        x_BD, x_hat_BD = x_BD.cpu().double(), x_hat_BD.cpu().double()
        num_rows = x_BD.shape[0]
        mean_D = x_BD.mean(dim=0)
        delta_D = mean_D - self._mean_D
        total = self._num_rows + num_rows
        between = float(delta_D.square().sum()) * self._num_rows * num_rows / total
        self._squared_deviation += float((x_BD - mean_D).square().sum()) + between
        self._mean_D += delta_D * (num_rows / total)
        self._num_rows = total
        self._squared_error += float((x_BD - x_hat_BD).square().sum())
        self._num_codes += codes.latents.numel()
        self._fired_F[codes.latents.cpu()] = True

    def metrics(self) -> ReconstructionMetrics:
        """Metrics of everything added so far."""
        assert self._num_rows > 0, "no rows were added"
        assert self._squared_deviation > 0, "rows do not vary"
        fvu = self._squared_error / self._squared_deviation
        return ReconstructionMetrics(
            explained_variance=1 - fvu,
            fvu=fvu,
            l0=self._num_codes / self._num_rows,
            dead_fraction=1 - int(self._fired_F.sum()) / self._fired_F.numel(),
            num_rows=self._num_rows,
        )
