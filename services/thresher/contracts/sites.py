"""Sites: named places in a transformer where activations are read, `{kind}.{layer}`."""

import re
from typing import Self

from pydantic import BaseModel, ConfigDict

from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import ModelIdentity

SITE_KINDS = ("resid_pre", "resid_mid", "resid_post", "mlp_in", "mlp_out", "attn_out", "mlp_neurons")
"""mlp_neurons is the input of the MLP's down projection; all others are as wide as the residual stream."""


SITE_NAME = re.compile(r"[a-z][a-z0-9_]*\.\d+")


def check_site_name(field: str, text: str) -> str:
    """A site's name, of a model or of imported activations such as image_embedding.0.

    Raises:
        SpecError: it is no word, a dot and a number.
    """
    if SITE_NAME.fullmatch(text) is None:
        raise SpecError(field, text, allowed="word.number", mend="Write it as resid_post.12.")
    return text


class Site(BaseModel):
    """One place in the model. `layer` counts decoder layers from 0."""

    model_config = ConfigDict(frozen=True)

    kind: str
    layer: int

    @classmethod
    def parse(cls, text: str) -> Self:
        match = re.fullmatch(r"([a-z_]+)\.(\d+)", text)
        if match is None or match[1] not in SITE_KINDS:
            raise SpecError(
                "site",
                text,
                allowed=[f"{kind}.LAYER" for kind in SITE_KINDS],
                mend="Write it as resid_post.12.",
            )
        return cls(kind=match[1], layer=int(match[2]))

    def __str__(self) -> str:
        return f"{self.kind}.{self.layer}"


def site_width(kind: str, model: ModelIdentity) -> int:
    """Values of a row at sites of this kind.

    Raises:
        SpecError: neurons, of a model whose config does not say how many.
    """
    if kind != "mlp_neurons":
        return model.d_model
    if model.d_mlp is None:
        raise SpecError(
            "sites",
            kind,
            mend=f"The config.json of {model.name} names no intermediate_size: the number of its neurons is unknown.",
        )
    return model.d_mlp
