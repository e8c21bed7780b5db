"""The models that a dictionary is of, and the folders that hold them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import HarvestManifest, ModelIdentity
from thresher.evaluation.splice.spec import EvaluateSpec
from thresher.runtime.model_identity import check_same_model, identify_model


@dataclass(frozen=True)
class HarvestedModel:
    """A model, and the harvests of it that a dictionary was fitted to."""

    identity: ModelIdentity
    folder: Path
    harvests: tuple[HarvestManifest, ...]

    @property
    def family(self) -> str | None:
        """As which architecture its sites were harvested, where the model's own is not in the table."""
        named = (harvest.spec.get("family") for harvest in self.harvests)
        return next((str(family) for family in named if family), None)


def find_models(spec: EvaluateSpec, harvests: Iterable[HarvestManifest]) -> list[HarvestedModel]:
    """Every model that was harvested, with its folder; in the order of the harvests.

    Raises:
        SpecError: rows were imported and have no model, a model's folder is not given, or one is of no such model.
    """
    groups: dict[tuple[str, ...], list[HarvestManifest]] = {}
    for harvest in harvests:
        groups.setdefault(_hashes(_model_of(spec, harvest)), []).append(harvest)
    if len(groups) > 1:
        return _of_several(spec, groups)
    if spec.other_models:
        mend = f"{spec.dictionary} is of one model: leave them out."
        raise SpecError("other_models", spec.other_models, allowed=[], mend=mend)
    (members,) = groups.values()
    identity = check_same_model("model", _model_of(spec, members[0]), spec.model)
    return [HarvestedModel(identity, Path(spec.model), tuple(members))]


def _of_several(
    spec: EvaluateSpec, groups: dict[tuple[str, ...], list[HarvestManifest]]
) -> list[HarvestedModel]:
    given: dict[tuple[str, ...], tuple[ModelIdentity, str]] = {}
    wanted = [
        f"{_model_of(spec, members[0]).name} of harvest {members[0].harvest_id}"
        for members in groups.values()
    ]
    for field, folder in [("model", spec.model), *(("other_models", item) for item in spec.other_models)]:
        identity = _identify(field, folder)
        if _hashes(identity) not in groups or _hashes(identity) in given:
            fault = "was given already" if _hashes(identity) in given else "differs from each of them"
            mend = f"{spec.dictionary} is of several models, and what this folder holds {fault}."
            raise SpecError(field, folder, allowed=wanted, mend=mend)
        given[_hashes(identity)] = (identity, folder)
    missing = [name for name, hashes in zip(wanted, groups, strict=True) if hashes not in given]
    if missing:
        mend = f"{spec.dictionary} reads rows of several models at once: give the folder of {', '.join(missing)}, too."
        raise SpecError("other_models", spec.other_models, allowed=wanted, mend=mend)
    return [
        HarvestedModel(given[hashes][0], Path(given[hashes][1]), tuple(members))
        for hashes, members in groups.items()
    ]


def _model_of(spec: EvaluateSpec, harvest: HarvestManifest) -> ModelIdentity:
    if harvest.model is None or harvest.corpus_id is None:
        mend = "It was fitted to imported activations, which have no model here."
        raise SpecError("dictionary", spec.dictionary, mend=mend)
    return harvest.model


def _identify(field: str, folder: str) -> ModelIdentity:
    try:
        return identify_model(folder)
    except SpecError as error:
        raise SpecError(field, error.value, allowed=error.allowed, mend=error.mend) from error


def _hashes(model: ModelIdentity) -> tuple[str, ...]:
    return model.config_sha256, model.weights_sha256, model.tokenizer_sha256
