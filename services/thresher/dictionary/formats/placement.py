"""Where an imported dictionary belongs: its sites, checked against the widths of a model and of a harvest."""

from dataclasses import replace

from thresher.activations.dense_reader import check_dense_site
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import HarvestManifest, ModelIdentity
from thresher.contracts.sites import SITE_KINDS, Site, site_width
from thresher.dictionary.formats.foreign import ForeignDictionary
from thresher.dictionary.formats.rewriting import with_input_scale
from thresher.dictionary.formats.spec import ImportDictionarySpec


def placed(spec: ImportDictionarySpec, found: ForeignDictionary) -> ForeignDictionary:
    """The dictionary with its sites, for rows as they are.

    Raises:
        SpecError: a site is missing or contradicts what was read, or the scale of the input is.
    """
    return _scaled(spec, _crosscoder(spec, found) if found.kind == "crosscoder" else _with_sites(spec, found))


def _with_sites(spec: ImportDictionarySpec, found: ForeignDictionary) -> ForeignDictionary:
    site, output_site = spec.site or found.site, spec.output_site or found.output_site
    if spec.output_site is not None and found.kind == "autoencoder":
        if found.encoder.centres_input:
            mend = (
                "It takes the decoder's bias from its input, so it is an autoencoder: leave output_site out."
            )
            raise SpecError("output_site", spec.output_site, mend=mend)
        found = replace(found, kind="transcoder")
    if site is None:
        raise SpecError("site", None, mend="The folder does not say what it reads: give the site.")
    if found.kind == "transcoder" and output_site is None:
        raise SpecError("output_site", None, mend="It is a transcoder: give the site that it writes.")
    return replace(found, site=site, output_site=output_site if found.kind == "transcoder" else None)


def _crosscoder(spec: ImportDictionarySpec, found: ForeignDictionary) -> ForeignDictionary:
    for field in ("site", "output_site"):
        if getattr(spec, field) is not None:
            mend = "A crosscoder's folder names its sites: leave this out."
            raise SpecError(field, getattr(spec, field), mend=mend)
    return replace(found, site="+".join(block.name for block in found.blocks))


def _scaled(spec: ImportDictionarySpec, found: ForeignDictionary) -> ForeignDictionary:
    scale = spec.source.input_scale
    if scale is None:
        if found.expects_scaled_input:
            raise SpecError(
                "source.input_scale",
                None,
                mend="It was saved with normalize_activations: expected_average_only_in, so it may expect rows times "
                "sqrt(width) / mean norm, which the folder does not hold. Give that factor; 1 if it is folded already.",
            )
        return found
    if found.kind != "autoencoder":
        mend = f"A {found.kind} has a scale for each site: fold them where it was trained."
        raise SpecError("source.input_scale", scale, mend=mend)
    return replace(found, encoder=with_input_scale(found.encoder, scale))


def check_model(found: ForeignDictionary, model: ModelIdentity) -> None:
    """Raise SpecError unless the sites are as wide in the model; sites of no model are not looked at."""
    for site, width in _widths(found):
        kind = site.partition(".")[0]
        if kind in SITE_KINDS and site_width(kind, model) != width:
            raise SpecError(
                "model",
                model.name,
                mend=f"{site} is {site_width(kind, model)} values wide there, and the dictionary has {width}.",
            )
        if kind in SITE_KINDS and Site.parse(site).layer >= model.num_layers:
            raise SpecError(
                "site", site, allowed=f"layers 0 to {model.num_layers - 1}", mend=f"{model.name} ends there."
            )


def check_harvest(found: ForeignDictionary, harvest: HarvestManifest) -> None:
    """Raise SpecError unless the harvest holds dense rows of the sites, as wide."""
    for site, width in _widths(found):
        check_dense_site(harvest, site)
        if harvest.sites[site].width != width:
            raise SpecError(
                "harvest",
                harvest.harvest_id,
                mend=f"Its rows of {site} are {harvest.sites[site].width} wide, and the dictionary has {width}.",
            )


def _widths(found: ForeignDictionary) -> list[tuple[str, int]]:
    inputs, outputs = widths_of_sites(found)
    return [*inputs, *(item for item in outputs if item not in inputs)]


def widths_of_sites(found: ForeignDictionary) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Sites side by side of the input, and of the output, each with its width."""
    if found.kind == "crosscoder":
        blocks = [(block.name, block.width) for block in found.blocks]
        return blocks, blocks
    assert found.site is not None
    return [(found.site, found.encoder.d_in)], [(found.output_site or found.site, found.encoder.d_out)]
