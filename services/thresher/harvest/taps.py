"""Forward hooks that keep the rows of one step. A hook that fails fails the step."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import nn

from thresher.contracts.errors import SpecError
from thresher.contracts.sites import Site
from thresher.harvest.site_map import Family, Tap


class Taps:
    """Hooks at some sites of a model; between `arm` and `take` they keep what flows by.

    Dummy and profiling runs happen unarmed, so their rows are never kept.
    """

    def __init__(self, model: nn.Module, family: Family, sites: Sequence[Site], stop_early: bool) -> None:
        stack = attrgetter(family.stack)(model)
        layers = getattr(stack, family.layers)
        self._rows: dict[str, torch.Tensor] = {}
        self._armed = False
        for site in sites:
            if site.layer >= len(layers):
                raise SpecError(
                    "site", str(site), allowed=f"layers 0 to {len(layers) - 1}", mend="Lower the layer."
                )
            self._hook(layers[site.layer], str(site), family.taps[site.kind])
        if stop_early:
            stack.end_layer = min(stack.end_layer, max(site.layer for site in sites) + 1)

    def _hook(self, layer: nn.Module, site: str, tap: Tap) -> None:
        module = attrgetter(tap.module)(layer) if tap.module else layer

        def keep(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
            if self._armed:
                assert site not in self._rows, f"{site} was passed twice in one step"
                self._rows[site] = tap.read((*arguments, *keywords.values()), output)

        module.register_forward_hook(keep, with_kwargs=True)

    def arm(self) -> None:
        """Keep what the next step computes."""
        self._rows, self._armed = {}, True

    def take(self) -> Mapping[str, torch.Tensor]:
        """Rows [tokens of the step, padding included, width] by site; nothing is kept after."""
        rows, self._rows, self._armed = self._rows, {}, False
        return rows
