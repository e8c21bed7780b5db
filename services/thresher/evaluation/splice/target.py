"""Which sites of which model a dictionary reads and replaces, and which of them together."""

from collections.abc import Sequence
from dataclasses import dataclass

from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import DictionaryManifest, TargetSite
from thresher.contracts.sites import Site
from thresher.evaluation.splice.models import HarvestedModel
from thresher.latents.subject.spliced_model import order_in_model


@dataclass(frozen=True)
class Place:
    """A site of one of the models."""

    model: int
    """Its place among them."""
    site: str


@dataclass(frozen=True)
class Splice:
    """Sites of one model whose rows are replaced together."""

    model: int
    outputs: tuple[Place, ...]


@dataclass(frozen=True)
class SiteGroup:
    """Sites that are read side by side, and those that are reconstructed of them; in the order of the columns."""

    inputs: tuple[Place, ...]
    outputs: tuple[Place, ...]
    output_widths: tuple[int, ...]

    @property
    def reads_what_it_replaces(self) -> bool:
        """One site, from itself."""
        return self.inputs == self.outputs and len(self.outputs) == 1


@dataclass(frozen=True)
class SpliceTarget:
    """What a dictionary reads, and what it reconstructs."""

    groups: tuple[SiteGroup, ...]
    """One, or of a layer group one a site."""

    @property
    def splices(self) -> list[Splice]:
        """Model by model: each site by itself, and then all of them at once."""
        outputs = [place for group in self.groups for place in group.outputs]
        found = []
        for model in sorted({place.model for place in outputs}):
            own = tuple(place for place in outputs if place.model == model)
            found += [Splice(model, (place,)) for place in own]
            found += [Splice(model, own)] if len(own) > 1 else []
        return found

    def sites_of(self, model: int) -> list[str]:
        """Every site of a model that is read or replaced, each once."""
        places = [place for group in self.groups for place in (*group.inputs, *group.outputs)]
        return list(dict.fromkeys(place.site for place in places if place.model == model))

    def read_for(self, splice: Splice) -> list[Place]:
        """What is read to replace these sites."""
        return [
            place
            for group in self.groups
            if set(group.outputs) & set(splice.outputs)
            for place in group.inputs
        ]


def splice_target(manifest: DictionaryManifest, models: Sequence[HarvestedModel]) -> SpliceTarget:
    """Where a dictionary's sites lie in its models.

    Raises:
        SpecError: a site is no place in a model, is meant twice, or is computed before what it is made from.
    """
    target = manifest.target
    inputs, outputs = (_places(sites, models) for sites in (target.inputs, target.outputs))
    widths = tuple(item.width for item in target.outputs)
    if len(set(outputs)) < len(outputs):
        raise SpecError(
            "dictionary",
            f"{manifest.name}@{manifest.version}",
            mend=f"It reads one site of one model twice, from two harvests ({manifest.site}): a model has it once.",
        )
    if target.kind == "layer_group":
        groups = [
            SiteGroup((place,), (place,), (width,)) for place, width in zip(outputs, widths, strict=True)
        ]
        return SpliceTarget(tuple(groups))
    if target.kind == "transcoder":
        _check_order(inputs[0].site, outputs[0].site)
    return SpliceTarget((SiteGroup(inputs, outputs, widths),))


def _check_order(read: str, written: str) -> None:
    if order_in_model(Site.parse(read)) > order_in_model(Site.parse(written)):
        mend = "The site it replaces is computed before the one it reads."
        raise SpecError("dictionary", f"{read} to {written}", mend=mend)


def _places(sites: Sequence[TargetSite], models: Sequence[HarvestedModel]) -> tuple[Place, ...]:
    of_harvest = {
        harvest.harvest_id: index for index, model in enumerate(models) for harvest in model.harvests
    }
    return tuple(Place(of_harvest[str(item.harvest_id)], str(Site.parse(item.site))) for item in sites)
