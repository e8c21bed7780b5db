"""What explainers and scorers need of an endpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import Capabilities

Ability = Literal["prompt_logprobs", "logprobs", "chat_logprobs", "json_schema", "json_object", "embeddings"]


@dataclass(frozen=True)
class Need:
    """One ability that a component cannot do without.

    Args:
        field: key of the spec that asks for it.
        amount: log-probabilities a position; 1 for an ability that is there or not.
        otherwise: what else the user may do, as `set simulation to null`.
    """

    ability: Ability
    field: str
    amount: int
    otherwise: str


MENDS: dict[Ability, str] = {
    "prompt_logprobs": "prompt log-probabilities: serve the model with vLLM and --max-logprobs {amount} or more",
    "logprobs": "log-probabilities over /v1/completions: lower it",
    "chat_logprobs": "log-probabilities over /v1/chat/completions: lower it",
    "json_schema": "answers kept to a JSON schema: serve the model with one that does, as vLLM",
    "json_object": "answers kept to JSON: serve the model with one that does, as vLLM",
    "embeddings": "embeddings: name a model that is served as one (vLLM: --runner pooling)",
}


def found_amount(capabilities: Capabilities, ability: Ability) -> int:
    """How much of an ability there is; 0 for none."""
    found = {
        "prompt_logprobs": capabilities.max_prompt_logprobs,
        "logprobs": capabilities.max_logprobs,
        "chat_logprobs": capabilities.max_chat_logprobs,
        "json_schema": capabilities.json_schema,
        "json_object": capabilities.json_object,
        "embeddings": capabilities.embeddings,
    }[ability]
    return int(found or 0)


def check_needs(where: str, capabilities: Capabilities, needs: Sequence[Need]) -> None:
    """Raises: SpecError: something that is needed is lacking; names the mend."""
    for need in needs:
        found = found_amount(capabilities, need.ability)
        if found < need.amount:
            most = f" (at most {found})" if found else ""
            mend = MENDS[need.ability].format(amount=need.amount)
            raise SpecError(
                need.field, need.amount, mend=f"{where} gives no such {mend}, or {need.otherwise}.{most}"
            )
