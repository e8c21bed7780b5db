"""What rows are trained as: scaled, or centred and whitened. The map is linear, and folded into the saved weights.

Shape suffixes: N sampled rows, B rows, D width, F latents.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

WHITENING_RIDGE = 1e-6
"""Added to variances, as a share of the largest, before they are divided by."""


@dataclass(frozen=True)
class RowMap:
    """x -> (x - mean) transform, where the transform is a factor a column or a symmetric matrix."""

    mean_D: torch.Tensor
    scale_D: torch.Tensor | None = None
    whitening_DD: torch.Tensor | None = None

    def apply(self, x_BD: torch.Tensor) -> torch.Tensor:
        """Rows as they are trained on."""
        if self.scale_D is not None:
            return x_BD * self.scale_D
        assert self.whitening_DD is not None
        return (x_BD - self.mean_D) @ self.whitening_DD

    def reads(self, W_FD: torch.Tensor) -> torch.Tensor:
        """W' with x' W^T = (x - mean) W'^T: weights that read mapped rows, made to read rows as they are."""
        return W_FD * self.scale_D if self.scale_D is not None else W_FD @ self._matrix()

    def writes(self, W_FD: torch.Tensor) -> torch.Tensor:
        """Weights that write mapped rows, made to write rows as they are, less the mean."""
        return (
            W_FD / self.scale_D if self.scale_D is not None else torch.linalg.solve(self._matrix(), W_FD.T).T
        )

    def double(self) -> "RowMap":
        scale_D, whitening_DD = self.scale_D, self.whitening_DD
        return RowMap(
            self.mean_D.double(),
            None if scale_D is None else scale_D.double(),
            None if whitening_DD is None else whitening_DD.double(),
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """By name, for a checkpoint."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> "RowMap":
        return cls(**tensors)

    def _matrix(self) -> torch.Tensor:
        assert self.whitening_DD is not None
        return self.whitening_DD


def scaling(x_ND: torch.Tensor, widths: Sequence[int]) -> RowMap:
    """Each site's block multiplied so that the mean norm of its rows is sqrt(width): none outweighs another."""
    factors = [
        torch.full((block.shape[1],), block.shape[1] ** 0.5 / float(block.norm(dim=1).mean()))
        for block in torch.split(x_ND.double(), list(widths), dim=1)
    ]
    return RowMap(torch.zeros(x_ND.shape[1]), scale_D=torch.cat(factors))


def whitening(x_ND: torch.Tensor) -> RowMap:
    """Rows centred and of unit covariance, in their own axes (ZCA, Bell and Sejnowski 1997).

    Rows of unit covariance have a mean norm near sqrt(D), as scaled ones have.
    """
    x_ND = x_ND.double()
    mean_D = x_ND.mean(dim=0)
    covariance_DD = (x_ND - mean_D).T @ (x_ND - mean_D) / x_ND.shape[0]
    variances_D, axes_DD = torch.linalg.eigh(covariance_DD)
    scale_D = (variances_D.clamp(min=0) + WHITENING_RIDGE * variances_D[-1]).rsqrt()
    return RowMap(mean_D.float(), whitening_DD=((axes_DD * scale_D) @ axes_DD.T).float())
