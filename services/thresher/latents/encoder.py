"""A dictionary at inference: sparse codes of activations, and activations from codes.

Shape suffixes: B rows, D width of the input, E width of the output, F latents, K codes over all rows.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch

from thresher.latents.kernels import SparseCodes, codes_above, codes_at, sparse_decode

MAX_PREACTIVATIONS = 1 << 25  # per piece of a batch: 128 MiB of float32


@dataclass(frozen=True)
class SparseEncoder:
    """A dictionary in one of two forms; every tensor float32.

    With z = (x - b_dec) W_enc + b_enc, or z = x W_enc + b_enc where the input is not centred:

    - JumpReLU (Rajamanoharan et al. 2024, eq. 2), where `k` is None: a latent's code is z where
      z > max(threshold, 0), and 0 elsewhere. ReLU, BatchTopK, Matryoshka and gated dictionaries have this form too.
    - TopK (Gao et al. 2024, eq. 3): the codes are the k largest z of each row, as far as they are positive.

    The reconstruction is codes W_dec + b_dec, plus x W_skip if there is a skip connection (Paulo et al. 2025). That of
    a transcoder is of another site than the input; a crosscoder's rows are those of several sites side by side.
    """

    W_enc_DF: torch.Tensor
    b_enc_F: torch.Tensor
    W_dec_FE: torch.Tensor
    b_dec_E: torch.Tensor
    threshold_F: torch.Tensor
    """Zero in the TopK form."""
    k: int | None = None
    W_skip_DE: torch.Tensor | None = None
    centres_input: bool = True

    def __post_init__(self) -> None:
        d_in, num_latents = self.W_enc_DF.shape
        d_out = self.W_dec_FE.shape[1]
        shapes = (self.b_enc_F.shape, self.threshold_F.shape, self.W_dec_FE.shape, self.b_dec_E.shape)
        if shapes != ((num_latents,), (num_latents,), (num_latents, d_out), (d_out,)):
            raise ValueError(
                f"weights of shapes {[*map(tuple, shapes)]} do not fit an encoder of {d_in} x {num_latents}"
            )
        if self.W_skip_DE is not None and self.W_skip_DE.shape != (d_in, d_out):
            raise ValueError(
                f"a skip connection of shape {tuple(self.W_skip_DE.shape)} does not fit {d_in} x {d_out}"
            )
        if self.centres_input and d_in != d_out:
            raise ValueError(f"an input {d_in} wide cannot be centred by a decoder bias {d_out} wide")
        if self.k is not None and not 0 < self.k <= num_latents:
            raise ValueError(f"k is {self.k}, but there are {num_latents} latents")

    @property
    def d_in(self) -> int:
        return self.W_enc_DF.shape[0]

    @property
    def d_out(self) -> int:
        return self.W_dec_FE.shape[1]

    @property
    def num_latents(self) -> int:
        return self.W_enc_DF.shape[1]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor there is, by the name of its field."""
        return {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}

    def to(self, device: torch.device | str) -> "SparseEncoder":
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in self.tensors().items()}
        return replace(self, **moved)

    def preactivations(self, x_BD: torch.Tensor) -> torch.Tensor:
        """z_BF, dense: for pieces of a batch that fit memory."""
        x_BD = x_BD.float() - self.b_dec_E if self.centres_input else x_BD.float()
        return torch.addmm(self.b_enc_F, x_BD, self.W_enc_DF)

    @torch.no_grad()
    def encode(self, x_BD: torch.Tensor) -> SparseCodes:
        """Codes of any number of rows, of any float type; memory is bounded by pieces of the batch."""
        piece_rows = max(1, MAX_PREACTIVATIONS // self.num_latents)
        return _concatenate([self._codes(piece_BD) for piece_BD in torch.split(x_BD, piece_rows)])

    @torch.no_grad()
    def decode(self, codes: SparseCodes, x_BD: torch.Tensor | None = None) -> torch.Tensor:
        """y_hat_BE, float32. A skip connection needs the input of the codes too."""
        y_hat_BE = sparse_decode(codes, self.W_dec_FE) + self.b_dec_E
        if self.W_skip_DE is None:
            return y_hat_BE
        assert x_BD is not None, "a skip connection reads the input"
        return y_hat_BE.addmm_(x_BD.float(), self.W_skip_DE)

    def reconstruct(self, x_BD: torch.Tensor) -> torch.Tensor:
        """y_hat_BE of an input, float32."""
        return self.decode(self.encode(x_BD), x_BD)

    def _codes(self, x_BD: torch.Tensor) -> SparseCodes:
        z_BF = self.preactivations(x_BD)
        if self.k is None:
            return codes_above(z_BF, self.threshold_F.clamp(min=0))
        return largest_codes(z_BF, self.k)


def largest_codes(z_BF: torch.Tensor, k: int) -> SparseCodes:
    """The k largest of each row of contiguous pre-activations, as far as they are positive."""
    num_rows, num_latents = z_BF.shape
    top = z_BF.topk(k, dim=1, sorted=False)
    starts_B1 = torch.arange(num_rows, device=z_BF.device).unsqueeze(1) * num_latents
    return codes_at(z_BF, (top.indices + starts_B1)[top.values > 0].sort().values)


def _concatenate(pieces: list[SparseCodes]) -> SparseCodes:
    if len(pieces) == 1:
        return pieces[0]
    lengths = torch.cat([piece.row_offsets.diff() for piece in pieces])
    return SparseCodes(
        row_offsets=torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]),
        latents=torch.cat([piece.latents for piece in pieces]),
        values=torch.cat([piece.values for piece in pieces]),
    )
