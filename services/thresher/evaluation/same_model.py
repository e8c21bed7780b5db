"""Whether a folder holds the very model that something was made with."""

from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import ModelIdentity
from thresher.runtime.model_identity import identify_model


def check_same_model(field: str, expected: ModelIdentity, folder: str) -> ModelIdentity:
    """The model of the folder; SpecError names the first of config, weights and tokenizer that differs."""
    found = identify_model(folder)
    for name in ("config_sha256", "weights_sha256", "tokenizer_sha256"):
        due, given = getattr(expected, name), getattr(found, name)
        if due != given:
            what = name.removesuffix("_sha256")
            raise SpecError(
                field,
                folder,
                mend=f"The harvest was made with {expected.name}, whose {what} has the sha256 {due[:12]}…; that of "
                f"this folder is {given[:12]}…: give the folder of that very model.",
            )
    return found
