"""What TransformerLens, and so SAELens, calls the sites of a model."""

import re

HOOK_NAMES = {
    "resid_pre": "blocks.{layer}.hook_resid_pre",
    "resid_mid": "blocks.{layer}.hook_resid_mid",
    "resid_post": "blocks.{layer}.hook_resid_post",
    "mlp_in": "blocks.{layer}.mlp.hook_in",
    "mlp_out": "blocks.{layer}.hook_mlp_out",
    "attn_out": "blocks.{layer}.hook_attn_out",
    "mlp_neurons": "blocks.{layer}.mlp.hook_post",
}
"""By kind of site."""

OTHER_NAMES = {
    "blocks.{layer}.hook_mlp_in": "mlp_in",
    "blocks.{layer}.ln2.hook_normalized": "mlp_in",
}
"""Hooks that hold the same rows as a kind of site does, as dictionaries made elsewhere name them."""

KINDS = {name: kind for kind, name in HOOK_NAMES.items()} | OTHER_NAMES


def hook_name(site: str) -> str:
    """What SAELens calls a site; imported activations have no other name than their own."""
    kind, _, layer = site.partition(".")
    return HOOK_NAMES.get(kind, site).format(layer=layer)


def site_of_hook(name: str | None) -> str | None:
    """The site that a hook of this name reads, or None where there is none."""
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", name or "")
    if match is None:
        return None
    kind = KINDS.get(f"blocks.{{layer}}.{match[2]}")
    return f"{kind}.{match[1]}" if kind else None
