"""A fit's spec and a grid of the values that replace parts of it."""

import copy
import itertools
from typing import Any, Self

from pydantic import Field, model_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError
from thresher.contracts.ids import canonical_json
from thresher.dictionary.spec import FitSpec

MAX_FITS = 1024


class SweepSpec(Spec):
    """Fit a dictionary for every combination of the grid, each a version of its own."""

    fit: dict[str, Any]
    """The spec of a fit, as `thresher fit` takes it, without a version."""
    grid: dict[str, list[Any]] = Field(min_length=1)
    """Values by dotted key of that spec, such as architecture.k; a whole section can be replaced, too."""
    memory_gib: float = Field(default=8, gt=0, json_schema_extra={"operational": True})
    """Memory of a worker's device that the dictionaries trained beside each other may take."""

    @property
    def root(self) -> str:
        return str(self.fit["root"])

    @model_validator(mode="after")
    def _every_fit_is_valid(self) -> Self:
        self.fits()
        return self

    def fits(self) -> list[FitSpec]:
        """One for each combination, the last key varying fastest.

        Raises:
            SpecError: one of them is no valid fit, names a version or is there twice.
        """
        for key, values in self.grid.items():
            if not values:
                raise SpecError(f"grid.{key}", values, mend="Give at least one value, or leave the key out.")
        combinations = list(itertools.product(*self.grid.values()))
        if len(combinations) > MAX_FITS:
            mend = "Cut it into several sweeps."
            raise SpecError("grid", f"{len(combinations)} fits", allowed=f"up to {MAX_FITS}", mend=mend)
        fits = [self._fit(dict(zip(self.grid, values, strict=True))) for values in combinations]
        if len({canonical_json(fit.identity()) for fit in fits}) < len(fits):
            raise SpecError("grid", self.grid, mend="Two of its fits are the same: leave one out.")
        return fits

    def _fit(self, values: dict[str, Any]) -> FitSpec:
        data = copy.deepcopy(self.fit)
        for key, value in values.items():
            _replace(data, key, value)
        if data.get("version") is not None:
            mend = "Every dictionary of a sweep takes the next free version: leave it out."
            raise SpecError("fit.version", data["version"], mend=mend)
        try:
            return FitSpec.parse(data)
        except SpecError as error:
            raise SpecError(
                f"fit.{error.field}", error.value, allowed=error.allowed, mend=error.mend
            ) from error


def _replace(data: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, such as architecture.k, to a value."""
    *parents, last = key.split(".")
    node = data
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise SpecError(f"grid.{key}", parent, mend=f"{parent} is a single value and holds no keys.")
    node[last] = copy.deepcopy(value)
