"""From the rows of sites to their reconstructions.

Shape suffixes: B sequences, L tokens, N rows, D width of all sites read, E of one reconstructed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from thresher.contracts.manifests import DictionaryManifest
from thresher.evaluation.splice.target import Place, SiteGroup, SpliceTarget
from thresher.latents.encoder import SparseEncoder
from thresher.latents.kernels import SparseCodes
from thresher.latents.site_encoder import encoder_at_site


@dataclass(frozen=True)
class Reconstructor:
    """An encoder and the sites that it reads together."""

    encoder: SparseEncoder
    """For rows as the models give them."""
    group: SiteGroup

    def codes(self, rows: Mapping[Place, torch.Tensor]) -> tuple[SparseCodes, dict[Place, torch.Tensor]]:
        """Codes and reconstructions of rows [N, width] of each site read."""
        x_ND = torch.cat([rows[place] for place in self.group.inputs], dim=1)
        codes = self.encoder.encode(x_ND)
        y_hat = torch.split(self.encoder.decode(codes, x_ND), list(self.group.output_widths), dim=1)
        return codes, dict(zip(self.group.outputs, y_hat, strict=True))

    def reconstruct(self, rows: Mapping[Place, torch.Tensor]) -> dict[Place, torch.Tensor]:
        """[B, L, width] of each site reconstructed, from the same of each site read."""
        length = rows[self.group.inputs[0]].shape[1]
        _, y_hat = self.codes({place: rows[place].flatten(0, 1) for place in self.group.inputs})
        return {place: y_hat_NE.view(-1, length, y_hat_NE.shape[1]) for place, y_hat_NE in y_hat.items()}


def reconstructors(
    encoder: SparseEncoder, dictionary: DictionaryManifest, target: SpliceTarget
) -> list[Reconstructor]:
    """One for each group of sites: a layer group's rows are scaled by a factor of the site, which no weights hold."""
    if dictionary.target.kind != "layer_group":
        return [Reconstructor(encoder, group) for group in target.groups]
    return [
        Reconstructor(encoder_at_site(encoder, dictionary, group.inputs[0].site), group)
        for group in target.groups
    ]
