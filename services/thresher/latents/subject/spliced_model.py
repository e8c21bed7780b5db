"""A language model whose sites can be read and replaced while it runs.

Shape suffixes: B sequences of a batch, L tokens a sequence, E width of a site, V vocabulary.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thresher.contracts.sites import Site
from thresher.latents.subject.places import find_place, places_of

ORDER = ("resid_pre", "attn_out", "resid_mid", "mlp_in", "mlp_neurons", "mlp_out", "resid_post")
"""In which the sites of a layer are computed."""

Replace = Callable[[torch.Tensor], torch.Tensor]
"""From the rows y_BLE of a site, as they come, to the rows to go on with."""


def order_in_model(site: Site) -> tuple[int, int]:
    """Sites that are computed earlier come first."""
    return site.layer, ORDER.index(site.kind)


class SplicedModel:
    """transformers' model in float32, with sites to read and to replace.

    Attention is eager: it alone of transformers' kinds applies soft-capping.

    Args:
        folder: of the model, as transformers loads it.
        sites: all that are read or replaced.
        family: reads the sites as this architecture's, where the model's own is not in the table.
        device: to run on.

    Raises:
        SpecError: the architecture, a kind or a layer is not there.
    """

    def __init__(
        self,
        folder: Path,
        sites: Sequence[str],
        *,
        family: str | None = None,
        device: torch.device | None = None,
    ) -> None:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        self._model = model.eval().to(device or torch.device("cpu"))
        self._places = places_of(family or model.config.architectures[0])
        self._sites = {name: Site.parse(name) for name in sites}
        for site in self._sites.values():
            find_place(model.base_model, self._places, site)

    @property
    def vocabulary(self) -> int:
        return int(self._model.config.get_text_config().vocab_size)

    @torch.inference_mode()
    def logits(
        self, token_ids_BL: torch.Tensor, replacements: Mapping[str, Replace] | None = None
    ) -> torch.Tensor:
        """logits_BLV, with the rows of sites replaced, or as the model is.

        Sites are replaced as they are computed: the rows of later ones come from what earlier ones were replaced by.
        """
        with self._replaced(replacements or {}):
            logits: torch.Tensor = self._model(token_ids_BL.to(self._model.device), use_cache=False).logits
        return logits.float()

    @torch.inference_mode()
    def logits_and_rows(self, token_ids_BL: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """logits_BLV, and y_BLE of every site, of the model as it is."""
        with self._observed() as rows:
            return self.logits(token_ids_BL), rows

    @torch.inference_mode()
    def rows(self, token_ids_BL: torch.Tensor) -> dict[str, torch.Tensor]:
        """y_BLE of every site; the model's head is not run."""
        with self._observed() as rows:
            self._model.base_model(token_ids_BL.to(self._model.device), use_cache=False)
        return rows

    @torch.inference_mode()
    def generate(
        self, token_ids_L: torch.Tensor, max_tokens: int, replacements: Mapping[str, Replace] | None = None
    ) -> torch.Tensor:
        """Ids of at most `max_tokens` tokens that follow, the likeliest each.

        Sites are replaced in the prompt, as one batch of one sequence, and then in each new token by itself.
        """
        ids_BL = token_ids_L[None].to(self._model.device)
        with self._replaced(replacements or {}):
            generated_BL: torch.Tensor = self._model.generate(
                ids_BL,
                attention_mask=torch.ones_like(ids_BL),
                max_new_tokens=max_tokens,
                do_sample=False,
                pad_token_id=0,  # a single sequence is never padded
            )
        return generated_BL[0, len(token_ids_L) :]

    @contextmanager
    def _observed(self) -> Iterator[dict[str, torch.Tensor]]:
        rows: dict[str, torch.Tensor] = {}

        def keeper(name: str) -> Replace:
            def keep(y_BLE: torch.Tensor) -> torch.Tensor:
                rows[name] = y_BLE.clone()  # the model may add to it in place
                return y_BLE

            return keep

        with ExitStack() as hooks:
            for name, site in self._sites.items():
                self._hook(hooks, site, keeper(name))
            yield rows

    @contextmanager
    def _replaced(self, replacements: Mapping[str, Replace]) -> Iterator[None]:
        with ExitStack() as hooks:
            # Hooks of one module run as they were added: what changes within a layer goes before its end.
            for name in sorted(replacements, key=lambda name: order_in_model(self._sites[name])):
                site, writer = self._sites[name], _Writing(replacements[name])
                self._hook(hooks, site, writer.write)
                if site.kind == "resid_mid":
                    # The norm reads the stream, which goes on beside it: what changed is added behind the layer.
                    layer = self._model.base_model.get_submodule(self._places.layers)[site.layer]
                    hooks.callback(_on_rows(layer, "output", writer.add_change).remove)
            yield

    def _hook(self, hooks: ExitStack, site: Site, change: Replace) -> None:
        module, side = find_place(self._model.base_model, self._places, site)
        hooks.callback(_on_rows(module, side, change).remove)


class _Writing:
    def __init__(self, replace: Replace) -> None:
        self._replace = replace
        self._change_BLE: torch.Tensor | None = None

    def write(self, y_BLE: torch.Tensor) -> torch.Tensor:
        new_BLE = self._replace(y_BLE)
        assert new_BLE.shape == y_BLE.shape, "rows are replaced by rows of their width"
        self._change_BLE = new_BLE - y_BLE
        return new_BLE

    def add_change(self, y_BLE: torch.Tensor) -> torch.Tensor:
        assert self._change_BLE is not None, "the site lies within the layer"
        return y_BLE + self._change_BLE


def _on_rows(
    module: nn.Module, side: str, change: Callable[[torch.Tensor], torch.Tensor]
) -> torch.utils.hooks.RemovableHandle:
    """Have `change` make the rows that go into a module, or come out of it."""
    if side == "output":
        return module.register_forward_hook(lambda _module, _arguments, output: _with_first(output, change))

    def before(
        _: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if arguments:
            return (change(arguments[0]), *arguments[1:]), keywords
        return arguments, {**keywords, "hidden_states": change(keywords["hidden_states"])}

    return module.register_forward_pre_hook(before, with_kwargs=True)


def _with_first(output: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A module gives its rows out alone, or first among several things."""
    return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)
