"""Which sites of the model a dictionary reads and replaces."""

from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import DictionaryManifest
from thresher.contracts.sites import Site

ORDER = ("resid_pre", "attn_out", "resid_mid", "mlp_in", "mlp_neurons", "mlp_out", "resid_post")
"""In which the sites of a layer are computed."""


def spliced_sites(manifest: DictionaryManifest) -> tuple[str, str]:
    """Input and output site of a dictionary.

    Raises:
        SpecError: it reconstructs several sites at once, or one that is no place in a model.
    """
    target = manifest.target
    if target.kind not in ("autoencoder", "transcoder"):
        raise SpecError(
            "dictionary",
            f"{manifest.name}@{manifest.version}",
            allowed="autoencoders and transcoders",
            mend=f"This dictionary is of kind {target.kind}, whose reconstruction has no one place in the model.",
        )
    sites = target.inputs[0].site, target.outputs[0].site
    read, written = (Site.parse(site) for site in sites)
    if _place(read) > _place(written):
        raise SpecError(
            "dictionary",
            f"{read} to {written}",
            mend="The site it replaces is computed before the one it reads.",
        )
    return sites


def _place(site: Site) -> tuple[int, int]:
    return site.layer, ORDER.index(site.kind)
