"""What went wrong with a request: whose fault it is, and whether asking again may help."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import openai

from thresher.contracts.errors import EndpointError, SpecError, ThresherError
from thresher.labeling.endpoints.requests import RequestFailedError
from thresher.labeling.endpoints.retry_after import retry_after_s
from thresher.labeling.endpoints.spec import EndpointSpec, ReplicaSpec

FailureKind = Literal["refused", "limited", "broken", "request", "malformed"]
RETRIED_CLIENT_ERRORS = (408, 409)
MAX_MESSAGE_CHARACTERS = 300


@dataclass(frozen=True)
class Failure:
    """One attempt that brought no answer.

    Args:
        kind: refused: the key, the account or the model, until somebody mends it; limited: too many requests;
            broken: the server or the way to it; request: this request alone; malformed: an answer that is none.
        error: what to raise if no further attempt helps.
        wait_s: how long the server asks to be left alone, if it does.
    """

    kind: FailureKind
    error: ThresherError
    wait_s: float | None = None


def failure_of(error: openai.APIError | TimeoutError, spec: EndpointSpec, server: ReplicaSpec) -> Failure:
    """Sort what the client library raised, or the wait for it."""
    where = server.base_url
    if is_timeout(error):
        words = f"{where} did not answer within {spec.timeout_s:g} s: raise timeout_s or lower concurrency."
        return Failure("broken", EndpointError(words))
    if isinstance(error, openai.APIStatusError):
        return _of_status(error, spec, server)
    assert isinstance(error, openai.APIError)
    words = f"{where} cannot be reached ({error.message}): start the server, or correct base_url."
    return Failure("broken", EndpointError(words))


def is_timeout(error: Exception) -> bool:
    return isinstance(error, openai.APITimeoutError | TimeoutError)


def _of_status(error: openai.APIStatusError, spec: EndpointSpec, server: ReplicaSpec) -> Failure:
    where, key, status = server.base_url, spec.key_name(server), error.status_code
    wait_s = retry_after_s(_lower_case(error.response.headers), datetime.now(UTC))
    if status in (401, 403):
        return Failure("refused", EndpointError(f"{where} refuses the key ({status}): correct ${key}."))
    if status == 402 or error.code == "insufficient_quota":
        words = f"{where} says the account of ${key} has no credit left: top it up."
        return Failure("refused", EndpointError(words))
    if status == 404:
        mend = f"{where} answers 404: {_message(error)}"
        return Failure("refused", SpecError("endpoint.model", spec.model, mend=mend))
    if status == 429:
        words = f"{where} keeps limiting the rate: lower concurrency, or run again later."
        return Failure("limited", EndpointError(words), wait_s)
    failed = RequestFailedError(f"HTTP {status}: {_message(error)}")
    if status >= 500 or status in RETRIED_CLIENT_ERRORS:
        return Failure("broken", failed, wait_s)
    return Failure("request", failed)


def _message(error: openai.APIStatusError) -> str:
    return str(error.message)[:MAX_MESSAGE_CHARACTERS]


def _lower_case(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
