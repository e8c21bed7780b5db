"""What a night may work on, in which windows, and when a label no longer holds."""

import re
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError
from thresher.contracts.ids import content_id
from thresher.labeling.families.spec import FamilyOptions
from thresher.labeling.spec import LabelSpec

Operational = {"operational": True}
SET_BY_THE_NIGHT = ("root", "dictionary", "corpus", "attempt")
TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


class WindowSpec(Spec):
    """When and at what a night ends. Nothing is begun that the estimate says cannot fit."""

    max_wall_s: Annotated[float, Field(gt=0)] | None = None
    """Longest duration of a night in seconds; null for no limit."""
    until: str | None = None
    """Time of day, HH:MM, at which the night ends at the latest; null for none."""
    timezone: str = "UTC"
    """Time zone of `until`, as in Europe/Zurich."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Prompt and completion tokens that a night may pay for; null for no limit."""

    @field_validator("until")
    @classmethod
    def _is_a_time(cls, text: str | None) -> str | None:
        if text is not None and TIME_OF_DAY.fullmatch(text) is None:
            raise SpecError("until", text, allowed="HH:MM, 00:00 to 23:59", mend="Write it as '06:00'.")
        return text

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (OSError, ValueError, KeyError) as error:
            raise SpecError("timezone", name, mend="Give an IANA name, as in Europe/Zurich.") from error
        return name


class ThresholdSpec(Spec):
    """When a label is worth making again."""

    min_lift: float = 0.1
    """A label whose lift over shuffled labels is less is low; made again, up to `max_tries`."""
    max_density_ratio: Annotated[float, Field(gt=1)] = 3.0
    """A feature has drifted if it fires so many times more or less often than where its label was made."""
    min_token_overlap: Annotated[float, Field(ge=0, le=1)] = 0.1
    """A feature has drifted if less of the tokens that it fires on strongest are those that it fired on."""
    min_own_overlap: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Tokens say nothing of a feature whose strongest tokens in two splits of one corpus overlap less."""
    max_tries: Annotated[int, Field(ge=1)] = 3
    """Labels asked for, of a feature over one features artifact, that were refused, unparsable or low."""
    score_types: tuple[str, ...] = ("simulation", "detection", "fuzzing")
    """Which score judges a label: the first of these that it has from a scorer not found unqualified."""


class NightlySpec(Spec):
    """One night of labelling: find what needs work, do what is worth most first, report."""

    root: Annotated[str, Field(json_schema_extra=Operational)]
    """Root of the object store: file:///folder or s3://bucket/prefix."""
    label: dict[str, Any]
    """How to label: a label spec without root, dictionary, corpus and choice of features, which the night gives it."""
    retry: dict[str, Any] = Field(default_factory=dict)
    """Keys of the label spec that differ where a feature was tried before, such as a temperature or an explainer.
    Its seed differs always: the stored answer would be found otherwise."""
    dictionaries: tuple[str, ...] = ("*",)
    """Patterns of name@version, as in my-*@*; a dictionary that fits one of them is worked on."""
    corpus: str | None = None
    """Over which corpus features are to be labelled; null for the newest features artifact of each dictionary."""
    windows: WindowSpec = WindowSpec()
    """When to end."""
    thresholds: ThresholdSpec = ThresholdSpec()
    """What to do again."""
    families: FamilyOptions | None = FamilyOptions()
    """Links and families, made again at the end for every dictionary that got labels; null to leave them out."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Most features of one label run; what is lost of the windows at a night's end is less than one run."""
    num_shown: Annotated[int, Field(ge=1)] = 10
    """Best and worst labels, and changes, that the report shows in full."""
    lease_s: Annotated[float, Field(gt=0, json_schema_extra=Operational)] = 60.0
    """How long this night may be silent before another may take over."""

    @model_validator(mode="after")
    def _templates_are_label_specs(self) -> Self:
        for name, template in (("label", self.label), ("retry", self.retry)):
            for key in SET_BY_THE_NIGHT:
                if key in template:
                    raise SpecError(f"{name}.{key}", template[key], mend="Leave it out: the night sets it.")
            if {"selection", "count"} & set(template.get("features", {})):
                raise SpecError(
                    f"{name}.features", template["features"], mend="Leave selection and count to the night."
                )
        self.label_spec("name@version", "corpus", tries=0)
        self.label_spec("name@version", "corpus", tries=1)
        return self

    @property
    def identity_id(self) -> str:
        """Two specs of one id do the same work: a night that one began may be finished by the other."""
        templates = [self.label_spec("name@version", "corpus", tries=tries).identity() for tries in (0, 1)]
        parts = {**self.identity(), "label": templates[0], "retry": templates[1]}
        return content_id("nightly_spec", parts)

    def label_spec(
        self,
        dictionary: str,
        corpus: str,
        *,
        tries: int,
        attempt: int = 0,
        features: list[int] | None = None,
        max_tokens: int | None = None,
    ) -> LabelSpec:
        """The spec of one label run.

        Args:
            dictionary: name@version.
            corpus: over which its features are.
            tries: how many labels were asked for before; 0 for the first.
            attempt: as in the label spec.
            features: which ones.
            max_tokens: what the run may pay for, besides the template's own limit.
        """
        data = _merged(self.label, self.retry) if tries else dict(self.label)
        data |= {"root": self.root, "dictionary": dictionary, "corpus": corpus, "attempt": attempt}
        data["seed"] = data.get("seed", 0) + tries
        if features is not None:
            data["features"] = {**data.get("features", {}), "selection": features}
        if max_tokens is not None:
            budget = dict(data.get("budget", {}))
            own = budget.get("max_tokens")
            budget["max_tokens"] = max_tokens if own is None else min(own, max_tokens)
            data["budget"] = budget
        return LabelSpec.parse(data)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `changes`, nested mappings key by key."""
    merged = dict(base)
    for key, value in changes.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged
