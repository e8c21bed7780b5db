"""A dictionary at inference: sparse codes of activations, and activations back from codes.

Shape suffixes: B rows, D width of the activations, F latents.
"""

from dataclasses import dataclass

import torch

from thresher.latents.kernels import SparseCodes, codes_above, sparse_decode

MAX_PREACTIVATIONS = 1 << 25  # per piece of a batch: 128 MiB of float32


@dataclass(frozen=True)
class SparseEncoder:
    """JumpReLU dictionary (Rajamanoharan et al. 2024, eq. 2), as SAELens stores it; every tensor float32.

    z = (x - b_dec) W_enc + b_enc; a latent's code is z where z > max(threshold, 0), and 0 elsewhere.
    """

    W_enc_DF: torch.Tensor
    b_enc_F: torch.Tensor
    W_dec_FD: torch.Tensor
    b_dec_D: torch.Tensor
    threshold_F: torch.Tensor

    def __post_init__(self) -> None:
        d_in, num_latents = self.W_enc_DF.shape
        shapes = (self.b_enc_F.shape, self.threshold_F.shape, self.W_dec_FD.shape, self.b_dec_D.shape)
        if shapes != ((num_latents,), (num_latents,), (num_latents, d_in), (d_in,)):
            raise ValueError(f"weights of shapes {shapes} do not fit an encoder of {d_in} x {num_latents}")

    @property
    def d_in(self) -> int:
        return self.W_enc_DF.shape[0]

    @property
    def num_latents(self) -> int:
        return self.W_enc_DF.shape[1]

    def to(self, device: torch.device | str) -> "SparseEncoder":
        tensors = (self.W_enc_DF, self.b_enc_F, self.W_dec_FD, self.b_dec_D, self.threshold_F)
        return SparseEncoder(*(tensor.to(device) for tensor in tensors))

    def preactivations(self, x_BD: torch.Tensor) -> torch.Tensor:
        """z_BF, dense: for pieces of a batch that fit memory."""
        return torch.addmm(self.b_enc_F, x_BD.float() - self.b_dec_D, self.W_enc_DF)

    @torch.no_grad()
    def encode(self, x_BD: torch.Tensor) -> SparseCodes:
        """Codes of any number of rows, of any float type; memory is bounded by pieces of the batch."""
        piece_rows = max(1, MAX_PREACTIVATIONS // self.num_latents)
        floor_F = self.threshold_F.clamp(min=0)
        return _concatenate(
            [codes_above(self.preactivations(piece), floor_F) for piece in torch.split(x_BD, piece_rows)]
        )

    @torch.no_grad()
    def decode(self, codes: SparseCodes) -> torch.Tensor:
        """x_hat_BD, float32."""
        return sparse_decode(codes, self.W_dec_FD) + self.b_dec_D


def _concatenate(pieces: list[SparseCodes]) -> SparseCodes:
    if len(pieces) == 1:
        return pieces[0]
    lengths = torch.cat([piece.row_offsets.diff() for piece in pieces])
    return SparseCodes(
        row_offsets=torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]),
        latents=torch.cat([piece.latents for piece in pieces]),
        values=torch.cat([piece.values for piece in pieces]),
    )
