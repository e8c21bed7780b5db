"""The same dictionary in other parameters: each of these computes what it did, up to rounding.

Shape suffixes: D width of the input, E width of the output, F latents.
"""

from dataclasses import replace

import torch

from thresher.latents.encoder import SparseEncoder


def gated_as_jumprelu(
    encoder: SparseEncoder, r_mag_F: torch.Tensor, b_mag_F: torch.Tensor, b_gate_F: torch.Tensor
) -> SparseEncoder:
    """A gated dictionary (Rajamanoharan et al. 2024a, eq. 5 and 6) as JumpReLU.

    Its magnitude is z = exp(r_mag) p + b_mag with p = (x - b_dec) W_enc, its gate p + b_gate > 0, which is
    z > b_mag - exp(r_mag) b_gate.

    Args:
        encoder: with the W_enc of the gate; its b_enc and threshold are replaced.
    """
    gain_F = r_mag_F.exp()
    return replace(
        encoder,
        W_enc_DF=encoder.W_enc_DF * gain_F,
        b_enc_F=b_mag_F,
        threshold_F=b_mag_F - gain_F * b_gate_F,
    )


def with_decoder_norms_in_codes(encoder: SparseEncoder, *, scale_threshold: bool) -> SparseEncoder:
    """Decoder rows of norm 1, the codes multiplied by the norms that they had.

    The order of the latents of a row becomes that of code times decoder norm. Rows of norm 0 stay.
    """
    norm_F = encoder.W_dec_FE.norm(dim=1)
    norm_F = torch.where(norm_F > 0, norm_F, 1.0)
    return replace(
        encoder,
        W_enc_DF=encoder.W_enc_DF * norm_F,
        b_enc_F=encoder.b_enc_F * norm_F,
        W_dec_FE=encoder.W_dec_FE / norm_F.unsqueeze(1),
        threshold_F=encoder.threshold_F * norm_F if scale_threshold else encoder.threshold_F,
    )


def with_input_scale(encoder: SparseEncoder, scale: float) -> SparseEncoder:
    """An autoencoder for rows as they are, from one for rows times `scale`; the codes stay as they were."""
    return replace(
        encoder,
        W_enc_DF=encoder.W_enc_DF * scale,
        W_dec_FE=encoder.W_dec_FE / scale,
        b_dec_E=encoder.b_dec_E / scale,
    )


def centred(encoder: SparseEncoder) -> SparseEncoder:
    """Of an input that b_dec is taken from; the widths of input and output must be the same."""
    if encoder.centres_input:
        return encoder
    shift_F = encoder.b_dec_E @ encoder.W_enc_DF
    return replace(encoder, b_enc_F=encoder.b_enc_F + shift_F, centres_input=True)


def uncentred(encoder: SparseEncoder) -> SparseEncoder:
    """Of an input that is taken as it is."""
    if not encoder.centres_input:
        return encoder
    shift_F = encoder.b_dec_E @ encoder.W_enc_DF
    return replace(encoder, b_enc_F=encoder.b_enc_F - shift_F, centres_input=False)
