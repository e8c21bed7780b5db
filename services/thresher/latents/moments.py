"""Sums over rows and their reconstructions that can be merged without losing precision.

Shape suffixes: B rows, E width of what is reconstructed.
"""

from dataclasses import dataclass

import torch


@dataclass
class PairMoments:
    """Of rows y and reconstructions y_hat, all float64.

    Squares are of distances from the rows' own mean and merged by Chan, Golub and LeVeque (1979), so large means cost
    no precision.
    """

    num_rows: int
    mean_E: torch.Tensor
    """Of y."""
    mean_hat_E: torch.Tensor
    deviation_E: torch.Tensor
    """sum (y - mean)^2, by column."""
    error_E: torch.Tensor
    """sum (y - y_hat)^2, by column."""
    deviation_hat: float
    """sum |y_hat - mean_hat|^2."""
    covariation: float
    """sum (y - mean) . (y_hat - mean_hat)."""

    @classmethod
    def of_none(cls, width: int) -> "PairMoments":
        zeros_E = torch.zeros(width, dtype=torch.float64)
        return cls(0, zeros_E, zeros_E, zeros_E, zeros_E, 0.0, 0.0)

    @classmethod
    def of(cls, y_BE: torch.Tensor, y_hat_BE: torch.Tensor) -> "PairMoments":
        """Of float64 rows; at least one."""
        mean_E, mean_hat_E = y_BE.mean(dim=0), y_hat_BE.mean(dim=0)
        centred_BE, centred_hat_BE = y_BE - mean_E, y_hat_BE - mean_hat_E
        return cls(
            num_rows=len(y_BE),
            mean_E=mean_E,
            mean_hat_E=mean_hat_E,
            deviation_E=centred_BE.square().sum(dim=0),
            error_E=(y_BE - y_hat_BE).square_().sum(dim=0),
            deviation_hat=float(centred_hat_BE.square().sum()),
            covariation=float((centred_BE * centred_hat_BE).sum()),
        )

    def merged(self, other: "PairMoments") -> "PairMoments":
        """Of the rows of both."""
        if not (self.num_rows and other.num_rows):
            return self if self.num_rows else other
        total = self.num_rows + other.num_rows
        delta_E, delta_hat_E = other.mean_E - self.mean_E, other.mean_hat_E - self.mean_hat_E
        between, share = self.num_rows * other.num_rows / total, other.num_rows / total
        return PairMoments(
            num_rows=total,
            mean_E=self.mean_E + delta_E * share,
            mean_hat_E=self.mean_hat_E + delta_hat_E * share,
            deviation_E=self.deviation_E + other.deviation_E + delta_E.square() * between,
            error_E=self.error_E + other.error_E,
            deviation_hat=self.deviation_hat
            + other.deviation_hat
            + float(delta_hat_E.square().sum()) * between,
            covariation=self.covariation + other.covariation + float(delta_E @ delta_hat_E) * between,
        )

    @property
    def error(self) -> float:
        """sum |y - y_hat|^2."""
        return float(self.error_E.sum())

    @property
    def deviation(self) -> float:
        """sum |y - mean|^2."""
        return float(self.deviation_E.sum())

    def deviation_from(self, centre_E: torch.Tensor) -> float:
        """sum |y - centre|^2."""
        return self.deviation + self.num_rows * float((self.mean_E - centre_E).square().sum())

    def reconstruction_bias(self, centre_E: torch.Tensor) -> float | None:
        """gamma = sum |h|^2 / sum h . x with x = y - centre and h = y_hat - centre; None if they do not agree at all.

        It minimises sum |h / gamma - x|^2 (Rajamanoharan et al. 2024, "Improving Dictionary Learning with Gated Sparse
        Autoencoders", eq. 10): below 1, reconstructions are too short.
        """
        mean_E, mean_hat_E = self.mean_E - centre_E, self.mean_hat_E - centre_E
        square_hat = self.deviation_hat + self.num_rows * float(mean_hat_E.square().sum())
        product = self.covariation + self.num_rows * float(mean_E @ mean_hat_E)
        return square_hat / product if product > 0 else None
