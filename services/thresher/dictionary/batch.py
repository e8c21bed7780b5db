"""What a dictionary is trained on: pairs of rows, whatever the target.

Shape suffixes: B rows, D width of the input, E width of the output.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Batch:
    """Rows x of which a dictionary makes codes, and rows y that it reconstructs from them."""

    x_BD: torch.Tensor
    y_BE: torch.Tensor
    """The same tensor as x_BD where a dictionary reconstructs its input."""

    @classmethod
    def of_rows(cls, x_BD: torch.Tensor) -> "Batch":
        """Rows that are reconstructed from themselves."""
        return cls(x_BD, x_BD)


@dataclass(frozen=True)
class PairLayout:
    """How the rows of a target lie beside each other: one block of columns a site."""

    input_widths: tuple[int, ...]
    output_widths: tuple[int, ...]
    reconstructs_input: bool = True
    """y is x: autoencoders, layer groups and crosscoders."""
    skip: bool = False
    """The reconstruction has a linear part W_skip x (Paulo et al. 2025)."""

    @property
    def d_in(self) -> int:
        return sum(self.input_widths)

    @property
    def d_out(self) -> int:
        return sum(self.output_widths)

    @property
    def centres_input(self) -> bool:
        """b_dec is taken from the input: in autoencoders alone, never in transcoders or crosscoders."""
        return self.reconstructs_input and len(self.input_widths) == 1
