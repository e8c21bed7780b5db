"""A language model one of whose sites can be replaced while it runs.

Shape suffixes: B sequences of a batch, L tokens a sequence, D width of the site read, E of the site replaced,
V vocabulary.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thresher.contracts.sites import Site
from thresher.harvest.reference_forward import find_place, places_of

Replace = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From the rows x_BLD of the site read and y_BLE of the site written to the rows to go on with."""


class SplicedModel:
    """transformers' model in float32, with one site to read and one to write.

    Attention is eager: it alone of transformers' kinds applies soft-capping.

    Args:
        folder: of the model, as transformers loads it.
        input_site: what `Replace` is given as x.
        output_site: what it is given as y and replaces; the same site, or one that is computed later.
        family: reads the sites as this architecture's, where the model's own is not in the table.
        device: to run on.

    Raises:
        SpecError: the architecture, a kind or a layer is not there.
    """

    def __init__(
        self,
        folder: Path,
        input_site: str,
        output_site: str,
        *,
        family: str | None = None,
        device: torch.device | None = None,
    ) -> None:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        self._model = model.eval().to(device or torch.device("cpu"))
        self._places = places_of(family or model.config.architectures[0])
        self._input, self._output = Site.parse(input_site), Site.parse(output_site)
        for site in (self._input, self._output):
            find_place(model.base_model, self._places, site)

    @property
    def vocabulary(self) -> int:
        return int(self._model.config.get_text_config().vocab_size)

    @torch.inference_mode()
    def logits(self, token_ids_BL: torch.Tensor, replace: Replace | None = None) -> torch.Tensor:
        """logits_BLV, with the rows of the output site replaced, or as the model is."""
        with ExitStack() as hooks:
            if replace is not None:
                hooks.enter_context(self._spliced(replace))
            logits: torch.Tensor = self._model(token_ids_BL.to(self._model.device), use_cache=False).logits
        return logits.float()

    @torch.inference_mode()
    def observe(self, token_ids_BL: torch.Tensor, see: Callable[[torch.Tensor, torch.Tensor], None]) -> None:
        """Run the model without its head and show x_BLD and y_BLE."""

        def unchanged(x_BLD: torch.Tensor, y_BLE: torch.Tensor) -> torch.Tensor:
            see(x_BLD, y_BLE)
            return y_BLE

        with self._spliced(unchanged):
            self._model.base_model(token_ids_BL.to(self._model.device), use_cache=False)

    @contextmanager
    def _spliced(self, replace: Replace) -> Iterator[None]:
        body, handles, read = self._model.base_model, [], None
        if self._input != self._output:
            read = _Reading()
            handles.append(_on_rows(*find_place(body, self._places, self._input), read.keep))
        writer = _Writing(replace, read)
        handles.append(_on_rows(*find_place(body, self._places, self._output), writer.write))
        if self._output.kind == "resid_mid":
            # The norm reads the stream, and the stream goes on beside it: what changed is added behind the layer.
            layer = body.get_submodule(self._places.layers)[self._output.layer]
            handles.append(_on_rows(layer, "output", writer.add_change))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class _Reading:
    x_BLD: torch.Tensor | None = None

    def keep(self, x_BLD: torch.Tensor) -> torch.Tensor:
        self.x_BLD = x_BLD.clone()  # the model may add to it in place before it is used
        return x_BLD


class _Writing:
    def __init__(self, replace: Replace, read: _Reading | None) -> None:
        self._replace, self._read = replace, read
        self._change_BLE: torch.Tensor | None = None

    def write(self, y_BLE: torch.Tensor) -> torch.Tensor:
        x_BLD = y_BLE if self._read is None else self._read.x_BLD
        assert x_BLD is not None, "the site read is computed before the one written"
        new_BLE = self._replace(x_BLD, y_BLE)
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
