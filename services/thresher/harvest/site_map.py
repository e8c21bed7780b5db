"""Questions to the table of families: a model's family, and what its sites are and hold."""

from collections.abc import Sequence
from pathlib import Path

from thresher.contracts.errors import SpecError
from thresher.contracts.sites import Site
from thresher.harvest.families import FAMILIES, Family, Tap
from thresher.harvest.model_tree import first_layer_tree

__all__ = ["Family", "Tap", "check_kind", "check_tensor_parallel", "family_of"]


def family_of(architecture: str, override: str | None = None, folder: Path | None = None) -> Family:
    """The family of an architecture, or of the one to read it as.

    Args:
        architecture: as config.json names it.
        override: an architecture of the table whose sites this model has too.
        folder: of the model, to show its layers if they are not known.

    Raises:
        SpecError: it has no row in the table.
    """
    if override is not None:
        if override not in FAMILIES:
            raise SpecError("family", override, allowed=sorted(FAMILIES), mend="Name one of these.")
        return FAMILIES[override]
    if architecture not in FAMILIES:
        tree = "" if folder is None else f"\n{first_layer_tree(folder)}"
        raise SpecError(
            "model",
            architecture,
            allowed=sorted(FAMILIES),
            mend="Set family to the one of these whose layers vLLM runs in the same modules, or add a row to FAMILIES "
            f"in thresher/harvest/families.py (see CONTRIBUTING: add a model family).{tree}",
        )
    return FAMILIES[architecture]


def check_kind(family: Family, site: Site) -> None:
    """Refuse a kind of site that the family has not.

    Raises:
        SpecError: says which it has, and why not this one.
    """
    if site.kind not in family.taps:
        raise SpecError(
            "sites",
            str(site),
            allowed=sorted(family.taps),
            mend=family.absent.get(site.kind, "Use a kind that this model has."),
        )


def check_tensor_parallel(sites: Sequence[str], tensor_parallel: int) -> None:
    """Refuse sites whose rows no rank holds whole.

    Raises:
        SpecError: neurons, of a model cut over several devices.
    """
    if tensor_parallel == 1:
        return
    for text in sites:
        if Site.parse(text).kind == "mlp_neurons":
            raise SpecError(
                "sites",
                text,
                mend="With engine.tensor_parallel over 1 each rank holds a part of the neurons: use 1, or "
                "engine.pipeline_parallel.",
            )
