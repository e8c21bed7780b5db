"""Which rows a dictionary reads and reconstructs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, field_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError
from thresher.contracts.sites import check_site_name


@dataclass(frozen=True)
class SiteOfHarvest:
    """A site, and the harvest that holds it; None is the fit's own."""

    site: str
    harvest: str | None = None


class AutoencoderTarget(Spec):
    """Reconstruct the rows of one site from themselves."""

    kind: Literal["autoencoder"]
    """autoencoder"""
    site: str
    """Site of the harvest, such as resid_post.12."""

    @field_validator("site")
    @classmethod
    def _site_is_well_formed(cls, site: str) -> str:
        return check_site_name("target.site", site)

    @property
    def inputs(self) -> Sequence[SiteOfHarvest]:
        """What the dictionary reads."""
        return (SiteOfHarvest(self.site),)

    @property
    def outputs(self) -> Sequence[SiteOfHarvest]:
        """What it reconstructs."""
        return self.inputs


class TranscoderTarget(Spec):
    """Reconstruct the rows of one site from those of another (Dunefsky et al. 2024)."""

    kind: Literal["transcoder"]
    """transcoder"""
    input_site: str
    """Site that is read, such as mlp_in.9."""
    output_site: str
    """Site that is reconstructed, such as mlp_out.9."""
    skip: bool = False
    """Add a linear map of the input to the reconstruction (Paulo et al. 2025)."""

    @field_validator("input_site")
    @classmethod
    def _input_is_well_formed(cls, site: str) -> str:
        return check_site_name("target.input_site", site)

    @field_validator("output_site")
    @classmethod
    def _output_is_well_formed(cls, site: str) -> str:
        return check_site_name("target.output_site", site)

    @property
    def inputs(self) -> Sequence[SiteOfHarvest]:
        """What the dictionary reads."""
        return (SiteOfHarvest(self.input_site),)

    @property
    def outputs(self) -> Sequence[SiteOfHarvest]:
        """What it reconstructs."""
        return (SiteOfHarvest(self.output_site),)


class CrosscoderSite(Spec):
    """One of the sites that a crosscoder reads side by side."""

    site: str
    """Such as resid_post.9."""
    harvest: str | None = None
    """Harvest that holds it, of the same corpus and selection, such as one of another model; null is the fit's own."""

    @field_validator("site")
    @classmethod
    def _site_is_well_formed(cls, site: str) -> str:
        return check_site_name("target.sites", site)


class CrosscoderTarget(Spec):
    """Reconstruct the rows of several sites, side by side, from one set of latents (Lindsey et al. 2024)."""

    kind: Literal["crosscoder"]
    """crosscoder"""
    sites: list[CrosscoderSite]
    """At least two; layers of one model, or a site of two models."""

    @field_validator("sites")
    @classmethod
    def _sites_differ(cls, sites: list[CrosscoderSite]) -> list[CrosscoderSite]:
        _check_several([f"{item.site} of {item.harvest}" if item.harvest else item.site for item in sites])
        return sites

    @property
    def inputs(self) -> Sequence[SiteOfHarvest]:
        """What the dictionary reads."""
        return tuple(SiteOfHarvest(item.site, item.harvest) for item in self.sites)

    @property
    def outputs(self) -> Sequence[SiteOfHarvest]:
        """What it reconstructs."""
        return self.inputs


class LayerGroupTarget(Spec):
    """An autoencoder over the rows of several sites of one width, pooled: each row is of one site."""

    kind: Literal["layer_group"]
    """layer_group"""
    sites: list[str]
    """At least two."""

    @field_validator("sites")
    @classmethod
    def _sites_differ(cls, sites: list[str]) -> list[str]:
        _check_several(sites)
        return [check_site_name("target.sites", site) for site in sites]

    @property
    def inputs(self) -> Sequence[SiteOfHarvest]:
        """What the dictionary reads."""
        return tuple(SiteOfHarvest(site) for site in self.sites)

    @property
    def outputs(self) -> Sequence[SiteOfHarvest]:
        """What it reconstructs."""
        return self.inputs


TargetSpec = Annotated[
    AutoencoderTarget | TranscoderTarget | CrosscoderTarget | LayerGroupTarget, Field(discriminator="kind")
]


def _check_several(names: list[str]) -> None:
    if len(set(names)) != len(names) or len(names) < 2:
        raise SpecError(
            "target.sites",
            names,
            allowed="two sites or more, each once",
            mend="Name several sites; for one, use kind: autoencoder.",
        )
