"""Where a worker reads the rows of a step: forward hooks, or the model's own auxiliary outputs.

Shape suffixes: N rows of the step (padding included), D width of the site.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Protocol

import torch
from torch import nn

from thresher.contracts.errors import SpecError
from thresher.contracts.sites import Site
from thresher.harvest.site_map import Family, Tap


class Taps(Protocol):
    """Between `arm` and `take`, what flows by some sites is kept.

    Dummy and profiling runs happen unarmed, so their rows are never kept.
    """

    def arm(self) -> None:
        """Keep what the next step computes."""

    def take(self, runner: Any) -> Mapping[str, torch.Tensor]:
        """x_ND by site, which the model will not write to again; nothing is kept after."""


class HookTaps:
    """Forward hooks: any site of any known family, in eager mode. A hook that fails fails the step."""

    def __init__(self, model: nn.Module, family: Family, sites: Sequence[Site]) -> None:
        layers = getattr(attrgetter(family.stack)(model), family.layers)
        self._rows: dict[str, torch.Tensor] = {}
        self._armed = False
        for site in sites:
            self._hook(layers[site.layer], str(site), family.taps[site.kind])

    def _hook(self, layer: nn.Module, site: str, tap: Tap) -> None:
        module = _module_of(layer, site, tap)

        def keep(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
            if self._armed:
                assert site not in self._rows, f"{site} was passed twice in one step"
                self._rows[site] = tap.read((*arguments, *keywords.values()), output)

        module.register_forward_hook(keep, with_kwargs=True)

    def arm(self) -> None:
        self._rows, self._armed = {}, True

    def take(self, runner: Any) -> Mapping[str, torch.Tensor]:
        rows, self._rows, self._armed = self._rows, {}, False
        return rows


class AuxiliaryTaps:
    """The auxiliary hidden states that models give to EAGLE-3 drafters: the residual stream after a layer.

    They are outputs of the compiled model, so that CUDA graphs stay. Must be made before the model is profiled and
    compiled.
    """

    def __init__(self, runner: Any, model: Any, sites: Sequence[Site]) -> None:
        # Auxiliary state k is the residual stream after k layers; they come in the order of k.
        self._sites = sorted(sites, key=lambda site: site.layer)
        model.set_aux_hidden_state_layers(tuple(site.layer + 1 for site in self._sites))
        runner.use_aux_hidden_state_outputs = True

    def arm(self) -> None:
        pass

    def take(self, runner: Any) -> Mapping[str, torch.Tensor]:
        states = runner.execute_model_state.aux_hidden_states
        assert states is not None, "the model gave no auxiliary states"
        assert len(states) == len(self._sites), "the model gave another number of auxiliary states"
        # Views of buffers that CUDA graphs write to again.
        return {str(site): x_ND.clone() for site, x_ND in zip(self._sites, states, strict=True)}


def _module_of(layer: nn.Module, site: str, tap: Tap) -> nn.Module:
    if not tap.module:
        return layer
    try:
        module: nn.Module = attrgetter(tap.module)(layer)
    except AttributeError as error:
        raise SpecError(
            "family",
            site,
            allowed=[name for name, _ in layer.named_children()],
            mend=f"This model's layers have no {tap.module}: they are not built like the family that they are read as.",
        ) from error
    return module


def stop_after(model: nn.Module, family: Family, sites: Sequence[Site]) -> None:
    """Leave out the layers above the highest site."""
    stack = attrgetter(family.stack)(model)
    stack.end_layer = min(stack.end_layer, max(site.layer for site in sites) + 1)


def sites_of_stage(model: nn.Module, family: Family, sites: Sequence[Site]) -> list[Site]:
    """The sites whose layers this pipeline stage holds, which without stages are all."""
    stack = attrgetter(family.stack)(model)
    return [site for site in sites if stack.start_layer <= site.layer < stack.end_layer]


def leave_out_logits(model: Any, vocabulary_size: int) -> None:
    """No prefill needs logits: the head's product is left out, and the sampler picks among zeros."""

    def no_logits(hidden_ND: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return hidden_ND.new_zeros(hidden_ND.shape[0], vocabulary_size, dtype=torch.float32)

    model.compute_logits = no_logits
