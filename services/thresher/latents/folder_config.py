"""cfg.json of a dictionary: what it says of the weights beside it, in SAELens' words as far as SAELens has them.

SAELens 6 has JumpReLU and TopK autoencoders, and JumpReLU transcoders with and without a skip connection. TopK
transcoders and crosscoders have an architecture of thresher's own, described in docs/formats.md.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from thresher.latents.encoder import SparseEncoder

SAELENS_VERSION = "6.54.12"  # without one, SAELens' loader migrates the folder as an old format
FORMAT_VERSION = 1  # of thresher's own architectures

DictionaryKind = Literal["autoencoder", "transcoder", "crosscoder"]

JUMPRELU, TOPK = "jumprelu", "topk"
TRANSCODER, SKIP_TRANSCODER = "jumprelu_transcoder", "jumprelu_skip_transcoder"
TOPK_TRANSCODER, CROSSCODER = "thresher_topk_transcoder", "thresher_crosscoder"
SAELENS_ARCHITECTURES = (JUMPRELU, TOPK, TRANSCODER, SKIP_TRANSCODER)
OWN_ARCHITECTURES = (TOPK_TRANSCODER, CROSSCODER)


@dataclass(frozen=True)
class SiteBlock:
    """Neighbouring columns of a crosscoder's rows that belong to one site."""

    name: str
    """The site, such as resid_post.3, or HARVEST/resid_post.3 where two harvests have one of that name."""
    width: int


def architecture_of(encoder: SparseEncoder, kind: DictionaryKind) -> str:
    """What cfg.json calls a dictionary."""
    if kind == "crosscoder":
        return CROSSCODER
    if kind == "autoencoder":
        return JUMPRELU if encoder.k is None else TOPK
    if encoder.k is not None:
        return TOPK_TRANSCODER
    return TRANSCODER if encoder.W_skip_DE is None else SKIP_TRANSCODER


def config_json(
    encoder: SparseEncoder,
    metadata: Mapping[str, Any],
    kind: DictionaryKind = "autoencoder",
    blocks: Sequence[SiteBlock] = (),
) -> bytes:
    """cfg.json with every key that SAELens requires.

    Args:
        encoder: what is described.
        metadata: model_name, hook_name, context_size, prepend_bos, hook_name_out of a transcoder, and whatever else
            should be kept.
        blocks: the sites of a crosscoder, in the order of its columns.
    """
    _check_expressible(encoder, kind, blocks)
    architecture = architecture_of(encoder, kind)
    config = {
        "architecture": architecture,
        "d_in": encoder.d_in,
        "d_sae": encoder.num_latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": encoder.centres_input,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": SAELENS_VERSION, **metadata},
    }
    if kind != "autoencoder":
        config["d_out"] = encoder.d_out
    if encoder.k is not None:
        config |= {"k": encoder.k, "rescale_acts_by_decoder_norm": False}
    if architecture in OWN_ARCHITECTURES:
        config["format_version"] = FORMAT_VERSION
    if kind == "crosscoder":
        config["sites"] = [asdict(block) for block in blocks]
    return (json.dumps(config, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _check_expressible(encoder: SparseEncoder, kind: DictionaryKind, blocks: Sequence[SiteBlock]) -> None:
    assert kind == "transcoder" or encoder.W_skip_DE is None, "only a transcoder skips"
    assert kind == "transcoder" or encoder.d_in == encoder.d_out, "it reconstructs what it reads"
    assert kind != "transcoder" or not encoder.centres_input, "a transcoder's b_dec is of another site"
    assert (kind == "crosscoder") == bool(blocks), "blocks are of crosscoders"
    assert not blocks or sum(block.width for block in blocks) == encoder.d_in, "blocks fill the rows"


@dataclass(frozen=True)
class FolderConfig:
    """What a cfg.json says, checked as far as it can be without the weights."""

    architecture: str
    d_in: int
    d_out: int
    num_latents: int
    k: int | None
    centres_input: bool
    blocks: tuple[SiteBlock, ...]
    metadata: Mapping[str, Any]

    @property
    def kind(self) -> DictionaryKind:
        if self.architecture == CROSSCODER:
            return "crosscoder"
        return "autoencoder" if self.architecture in (JUMPRELU, TOPK) else "transcoder"

    @property
    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of everything that sae_weights.safetensors must hold."""
        shapes: dict[str, tuple[int, ...]] = {
            "W_enc": (self.d_in, self.num_latents),
            "b_enc": (self.num_latents,),
            "W_dec": (self.num_latents, self.d_out),
            "b_dec": (self.d_out,),
        }
        return shapes | ({"threshold": (self.num_latents,)} if self.k is None else {})


def parse_config(data: bytes) -> FolderConfig:
    """Read a cfg.json that config_json wrote.

    Raises:
        ValueError: it is no JSON, of an unknown architecture, lacks a key or contradicts itself.
    """
    fields = json.loads(data)
    if not isinstance(fields, dict):
        raise ValueError("it holds no mapping")
    architecture = fields.get("architecture")
    if architecture not in (*SAELENS_ARCHITECTURES, *OWN_ARCHITECTURES):
        known = ", ".join((*SAELENS_ARCHITECTURES, *OWN_ARCHITECTURES))
        raise ValueError(f"its architecture {architecture!r} is none of {known}")
    if architecture in OWN_ARCHITECTURES and fields.get("format_version") != FORMAT_VERSION:
        raise ValueError(f"its format_version {fields.get('format_version')!r} is not {FORMAT_VERSION}")
    for key, due in (
        ("dtype", "float32"),
        ("normalize_activations", "none"),
        ("reshape_activations", "none"),
    ):
        if fields.get(key) != due:
            raise ValueError(f"its {key} {fields.get(key)!r} is not {due}")
    if fields.get("rescale_acts_by_decoder_norm", False) is not False:
        raise ValueError("its rescale_acts_by_decoder_norm is not false")
    config = FolderConfig(
        architecture=architecture,
        d_in=_positive(fields, "d_in"),
        d_out=_positive(fields, "d_out" if "d_out" in fields else "d_in"),
        num_latents=_positive(fields, "d_sae"),
        k=_k(fields),
        centres_input=_flag(fields, "apply_b_dec_to_input"),
        blocks=_blocks(fields),
        metadata=fields.get("metadata", {}),
    )
    _check_consistent(config)
    return config


def _positive(fields: Mapping[str, Any], key: str) -> int:
    value = fields.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"its {key} {value!r} is no positive number")
    return value


def _flag(fields: Mapping[str, Any], key: str) -> bool:
    value = fields.get(key)
    if not isinstance(value, bool):
        raise ValueError(f"its {key} {value!r} is neither true nor false")
    return value


def _k(fields: Mapping[str, Any]) -> int | None:
    if fields["architecture"] in (TOPK, TOPK_TRANSCODER):
        return _positive(fields, "k")
    return _positive(fields, "k") if fields["architecture"] == CROSSCODER and "k" in fields else None


def _blocks(fields: Mapping[str, Any]) -> tuple[SiteBlock, ...]:
    if fields["architecture"] != CROSSCODER:
        return ()
    sites = fields.get("sites")
    if not isinstance(sites, list) or not all(isinstance(site, dict) for site in sites):
        raise ValueError("its sites are no list of a name and a width each")
    return tuple(SiteBlock(name=str(site.get("name")), width=_positive(site, "width")) for site in sites)


def _check_consistent(config: FolderConfig) -> None:
    if config.k is not None and config.k > config.num_latents:
        raise ValueError(f"its k {config.k} exceeds its {config.num_latents} latents")
    if config.kind == "transcoder" and config.centres_input:
        raise ValueError("it is a transcoder, and its apply_b_dec_to_input is true")
    if config.kind != "transcoder" and config.d_out != config.d_in:
        raise ValueError(f"its d_out {config.d_out} is not its d_in {config.d_in}")
    if config.kind == "crosscoder" and sum(block.width for block in config.blocks) != config.d_in:
        raise ValueError(f"the widths of its sites do not add up to its d_in {config.d_in}")
