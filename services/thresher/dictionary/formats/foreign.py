"""A dictionary on its way in: what a folder of another tool holds, in thresher's form."""

from dataclasses import dataclass
from typing import TypeVar

from thresher.latents.encoder import SparseEncoder
from thresher.latents.folder_config import DictionaryKind, SiteBlock

T = TypeVar("T", str, int, bool)


def stated(value: object, kind: type[T]) -> T | None:
    """What a config says, if it is of the kind that is due; facts that are not needed are no reason to refuse."""
    return value if type(value) is kind else None


@dataclass(frozen=True)
class ForeignDictionary:
    """What was read, and what the folder says of where it belongs."""

    encoder: SparseEncoder
    architecture: str
    """What the format calls it."""
    kind: DictionaryKind = "autoencoder"
    blocks: tuple[SiteBlock, ...] = ()
    """Sites of a crosscoder."""
    site: str | None = None
    """Of the input."""
    output_site: str | None = None
    """Of the output of a transcoder."""
    model_name: str | None = None
    context_size: int | None = None
    """Tokens of a sequence it was trained on."""
    prepend_bos: bool | None = None
    k: int | None = None
    """Active latents a row that were asked for, where the codes are not the k largest."""
    expects_scaled_input: bool = False
    """It reads rows times a factor that the folder does not hold."""
