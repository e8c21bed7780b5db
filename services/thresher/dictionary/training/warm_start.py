"""A fit that starts from an existing dictionary: its weights in the units of training.

Shape suffixes: D width of the input, E width of the output, F latents.
"""

from collections.abc import Collection, Sequence

import torch

from thresher.contracts.errors import SpecError
from thresher.dictionary.formats.rewriting import centred, uncentred
from thresher.latents.encoder import SparseEncoder

SMALLEST_NORM = 1e-12
SMALLEST_THRESHOLD = 1e-6
"""Of an architecture that learns the logarithm: a threshold of 0 has none."""


def check_initial(
    encoder: SparseEncoder, *, d_in: int, d_out: int, num_latents: int, skip: bool, centres_input: bool
) -> None:
    """Raise SpecError unless a fit of this shape can start from the dictionary.

    Args:
        encoder: of the dictionary that is named.
        d_in: values of a row of the fit's input.
        d_out: values of a row of its output.
        num_latents: of the fit.
        skip: whether its reconstruction has a skip connection.
        centres_input: whether it reads rows less b_dec, as autoencoders do.
    """
    found = {"d_in": encoder.d_in, "d_out": encoder.d_out, "num_latents": encoder.num_latents}
    due = {"d_in": d_in, "d_out": d_out, "num_latents": num_latents}
    differing = [name for name in due if found[name] != due[name]]
    if differing:
        stated = ", ".join(f"{name} {found[name]}" for name in differing)
        wanted = ", ".join(f"{name} {due[name]}" for name in differing)
        raise SpecError("initial", stated, allowed=wanted, mend="Start from a dictionary of the same shape.")
    if encoder.W_skip_DE is not None and not skip:
        raise SpecError(
            "initial", "a skip connection", mend="The fit has none: set target.skip, or start from another."
        )
    if encoder.centres_input and not centres_input and d_in != d_out:
        raise SpecError("initial", "a centred input", mend="Start from a dictionary of the same kind.")


@torch.no_grad()
def weights_from_encoder(
    encoder: SparseEncoder,
    input_scale_D: torch.Tensor,
    output_scale_E: torch.Tensor,
    *,
    centres_input: bool,
    output_widths: Sequence[int],
    unit_norm: bool,
    skip: bool = False,
) -> dict[str, torch.Tensor]:
    """W_enc [F, D], b_enc, W_dec [F, E], b_dec, threshold and, with `skip`, W_skip [E, D], for scaled rows.

    With x' = s x and y' = t y the weights read x' / s and write t times as much. Then each code is multiplied by the
    norm of its decoder row, which is divided by it: by its own norm where training keeps the rows on the unit sphere,
    by the mean norm otherwise. Folded again, they reconstruct what the dictionary does, and make its codes where its
    decoder rows have norm 1.

    Args:
        encoder: for rows as harvested.
        input_scale_D: what training multiplies each column of the input by.
        output_scale_E: and of the output.
        centres_input: whether training reads rows less b_dec.
        output_widths: of the sites of the output, side by side; the norm of a row is the sum over its sites.
        unit_norm: whether training keeps decoder rows at norm 1.
        skip: whether training has a skip connection; 0 where the dictionary has none.
    """
    encoder = centred(encoder) if centres_input else uncentred(encoder)
    s_D, t_E = input_scale_D.double(), output_scale_E.double()
    W_dec_FE = encoder.W_dec_FE.double() * t_E
    blocks = torch.split(W_dec_FE, list(output_widths), dim=1)
    norm_F = torch.stack([block.norm(dim=1) for block in blocks]).sum(dim=0)
    norm_F = norm_F if unit_norm else norm_F.mean().expand(len(norm_F))
    norm_F = torch.where(norm_F > SMALLEST_NORM, norm_F, 1.0)
    weights = {
        "W_enc": (encoder.W_enc_DF.double() / s_D.unsqueeze(1) * norm_F).T,
        "b_enc": encoder.b_enc_F.double() * norm_F,
        "W_dec": W_dec_FE / norm_F.unsqueeze(1),
        "b_dec": encoder.b_dec_E.double() * t_E,
        "threshold": encoder.threshold_F.double().clamp(min=0) * norm_F,
    }
    if skip:
        skip_DE = encoder.W_skip_DE if encoder.W_skip_DE is not None else torch.zeros(len(s_D), len(t_E))
        weights["W_skip"] = (skip_DE.double() * t_E / s_D.unsqueeze(1)).T
    return {name: weight.float().contiguous() for name, weight in weights.items()}


def for_architecture(weights: dict[str, torch.Tensor], names: Collection[str]) -> dict[str, torch.Tensor]:
    """The same weights under the names that an architecture trains.

    A gated dictionary begins with one encoder for gate and magnitude, which is active where z exceeds the threshold.
    Architectures without thresholds of their own begin without them.

    Args:
        weights: of weights_from_encoder.
        names: of the weights that the architecture begins with otherwise.
    """
    rest, threshold_F = (
        {key: value for key, value in weights.items() if key != "threshold"},
        weights["threshold"],
    )
    if "log_threshold" in names:
        rest["log_threshold"] = threshold_F.clamp(min=SMALLEST_THRESHOLD).log()
    elif "threshold" in names:
        rest["threshold"] = threshold_F
    if "b_gate" in names:
        b_enc_F = rest.pop("b_enc")
        rest |= {"b_gate": b_enc_F - threshold_F, "b_mag": b_enc_F, "r_mag": torch.zeros_like(b_enc_F)}
    assert rest.keys() == set(names), f"{sorted(rest)} should be {sorted(names)}"
    return rest
