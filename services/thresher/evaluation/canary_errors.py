"""How far stored rows are from reference rows, in units of the reference row's norm.

Shape suffixes: N rows, D width of a site, F latents.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from thresher.evaluation.stored_rows import FloatArray
from thresher.latents.encoder import SparseEncoder

FLOOR = 0.1
"""Rows of a smaller share of the median norm are measured against that share: what is left where almost all of a row
cancels is rounding."""
CHUNK_ROWS = 256


def norm_scale(reference_ND: FloatArray) -> FloatArray:
    """What errors of each row are divided by."""
    norms_N = np.linalg.norm(reference_ND, axis=1)
    scale_N: FloatArray = np.maximum(norms_N, FLOOR * np.median(norms_N))
    return scale_N


def dense_errors(x_ND: FloatArray, reference_ND: FloatArray) -> FloatArray:
    """|x - reference| of each row."""
    errors_N: FloatArray = np.linalg.norm(x_ND - reference_ND, axis=1) / norm_scale(reference_ND)
    return errors_N


def code_errors(codes: pa.Table, reference_ND: FloatArray, encoder: SparseEncoder) -> FloatArray:
    """The least relative change of each reference row that explains its stored codes.

    A code differs by d where the row changes by at least d / |w|, with w the latent's encoder column (Cauchy and
    Schwarz). A latent that is stored as active must reach its value; one that is stored as inactive need only fall to
    its threshold, so that latents at their threshold may flip. The threshold of a TopK dictionary is the least value
    that is stored of the row.

    Args:
        codes: rows of the schema SPARSE_CODES.
        reference_ND: dense rows of the same tokens.
        encoder: the dictionary that made the codes.
    """
    lengths = np.asarray(pc.list_value_length(codes["latents"]))
    row_of_code = np.repeat(np.arange(len(lengths)), lengths)
    latents = np.asarray(pc.list_flatten(codes["latents"]))
    values = np.asarray(pc.list_flatten(codes["values"]))
    column_norms_F = encoder.W_enc_DF.norm(dim=0).clamp(min=torch.finfo(torch.float32).tiny)
    parts = []
    for start in range(0, len(reference_ND), CHUNK_ROWS):
        own = (row_of_code >= start) & (row_of_code < start + CHUNK_ROWS)
        x_ND = torch.from_numpy(reference_ND[start : start + CHUNK_ROWS])
        rows = torch.from_numpy(row_of_code[own] - start)
        needed_NF = _needed(x_ND, rows, latents[own], values[own], encoder)
        parts.append((needed_NF / column_norms_F).amax(dim=1).numpy())
    errors_N: FloatArray = np.concatenate(parts) / norm_scale(reference_ND)
    return errors_N


def _needed(
    x_ND: torch.Tensor,
    rows: torch.Tensor,
    latents: npt.NDArray[np.int32],
    values: npt.NDArray[np.float32],
    encoder: SparseEncoder,
) -> torch.Tensor:
    """How far each pre-activation is from what the codes say of it."""
    z_NF = encoder.preactivations(x_ND)
    stored = torch.from_numpy(values.copy())
    needed_NF = (z_NF - _floor(rows, stored, len(x_ND), encoder)).clamp(min=0)
    where = (rows, torch.from_numpy(latents.astype(np.int64)))
    needed_NF[where] = (z_NF[where] - stored).abs()
    return needed_NF


def _floor(rows: torch.Tensor, stored: torch.Tensor, num_rows: int, encoder: SparseEncoder) -> torch.Tensor:
    """What inactive latents must not exceed: of each latent, or in the TopK form of each row."""
    if encoder.k is None:
        return encoder.threshold_F.clamp(min=0)
    least_N = torch.full((num_rows,), torch.inf).scatter_reduce_(0, rows, stored, "amin")
    is_full_N = torch.bincount(rows, minlength=num_rows) == encoder.k
    return torch.where(is_full_N, least_N, 0.0).unsqueeze(1)
