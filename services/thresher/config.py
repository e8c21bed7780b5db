"""Base of every spec: frozen pydantic, YAML in, resolved JSON saved beside its output."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from thresher.contracts.errors import SpecError

MISSING = "(missing)"


class Spec(BaseModel):
    """A frozen description of work. Unknown keys are refused; every field is documented.

    Fields whose `json_schema_extra` holds `{"operational": True}` say how to run, not what to make:
    they never enter an artifact's id.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read a YAML spec and apply `key=value` overrides (dotted keys, YAML values).

        Raises:
            SpecError: the file is absent, is not YAML, or does not fit the spec; names the field and the mend.
        """
        file = Path(path)
        if not file.is_file():
            raise SpecError("spec", str(path), mend="Give the path of a YAML file that exists.")
        try:
            data = yaml.safe_load(file.read_text())
        except yaml.YAMLError as error:
            raise SpecError("spec", str(path), mend=f"Mend the YAML: {error}") from error
        if not isinstance(data, dict):
            raise SpecError("spec", str(path), mend="The file must hold a mapping of keys to values.")
        for override in overrides:
            _apply_override(data, override)
        return cls.parse(data)

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Self:
        """Validate plain data; every fault becomes a SpecError naming its field."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise _spec_error(cls, error) from error

    def identity(self) -> dict[str, Any]:
        """The plain values that determine what is made, without the operational fields."""
        return _without_operational(self)


def _without_operational(spec: BaseModel) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, info in type(spec).model_fields.items():
        extra = info.json_schema_extra
        if isinstance(extra, dict) and extra.get("operational"):
            continue
        value = getattr(spec, name)
        if isinstance(value, Spec):
            out[name] = _without_operational(value)
        elif isinstance(value, list | tuple) and any(isinstance(item, Spec) for item in value):
            out[name] = [_without_operational(item) for item in value]
        else:
            out[name] = spec.model_dump(mode="json", include={name})[name]
    return out


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise SpecError("--set", override, mend="Write it as key=value, with dots between nested keys.")
    *parents, last = key.split(".")
    node = data
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise SpecError("--set", override, mend=f"{parent} is a single value and holds no keys.")
    node[last] = yaml.safe_load(text)


def _spec_error(cls: type[BaseModel], error: ValidationError) -> SpecError:
    first = error.errors()[0]
    location = first["loc"]
    field = ".".join(str(part) for part in location) or cls.__name__
    if isinstance(first.get("ctx", {}).get("error"), SpecError):
        inner = first["ctx"]["error"]
        if not location or inner.field.startswith(f"{location[0]}."):
            field = inner.field  # a check of several fields at once knows which of them is at fault
        return SpecError(field, inner.value, allowed=inner.allowed, mend=inner.mend)
    if first["type"] == "missing":
        return SpecError(field, MISSING, mend=f"{cls.__name__} needs this key: add it to the spec.")
    if first["type"] == "extra_forbidden":
        return SpecError(
            field, first["input"], allowed=_siblings(cls, location), mend="Remove or correct the key."
        )
    return SpecError(field, first["input"], mend=first["msg"] + ".")


def _siblings(cls: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    node: type[BaseModel] = cls
    for part in location[:-1]:
        field = node.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        node = annotation
    return sorted(node.model_fields)
