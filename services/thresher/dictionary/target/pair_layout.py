"""How the rows of a target lie beside each other."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PairLayout:
    """One block of columns a site."""

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
