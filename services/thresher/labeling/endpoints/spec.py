"""Which model server or servers, and how they are reached."""

import os
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError

Operational = {"operational": True}
ENVIRONMENT_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
UNSTATED = "unstated"


def check_base_url(url: str) -> str:
    """An address that a client can use and that holds no secret."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SpecError(
            "base_url", url, allowed="http(s)://host/v1", mend="Give it here or in OPENAI_BASE_URL."
        )
    if parts.username or parts.password or parts.query:
        shown = f"{parts.scheme}://…@{parts.hostname}"
        raise SpecError("base_url", shown, mend="Leave credentials out of the address: set OPENAI_API_KEY.")
    return url


def check_key_name(name: str) -> str:
    """The name of an environment variable; never a key, which would end up in logs."""
    if ENVIRONMENT_NAME.fullmatch(name) is None:
        raise SpecError(
            "api_key_env", "…", allowed="A-Z, 0-9, _", mend="Name a variable; never write the key here."
        )
    return name


def _base_url_from_environment() -> str:
    return os.environ.get("OPENAI_BASE_URL", "")


class ReplicaSpec(Spec):
    """One of several servers of the same model and revision."""

    base_url: str
    """Address up to and with /v1."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Its share of the requests in flight, relative to the others'."""
    api_key_env: str | None = None
    """Name of the environment variable that holds its key; null for the endpoint's."""

    @field_validator("base_url")
    @classmethod
    def _url_without_secret(cls, url: str) -> str:
        return check_base_url(url)

    @field_validator("api_key_env")
    @classmethod
    def _name_not_key(cls, name: str | None) -> str | None:
        return None if name is None else check_key_name(name)


class EndpointSpec(Spec):
    """An OpenAI-compatible server, or several of one model. Keys are read from the environment, and nowhere else."""

    model: str
    """Name of the model, as the endpoint serves it."""
    revision: str = UNSTATED
    """Revision or weights hash of the served model. Answers of one revision are never taken for another's."""
    replicas: Annotated[tuple[ReplicaSpec, ...], Field(json_schema_extra=Operational)] = ()
    """Servers of this one model and revision, in place of base_url. One that fails is left out and tried again."""
    base_url: Annotated[str, Field(default_factory=_base_url_from_environment, json_schema_extra=Operational)]
    """Address up to and with /v1; the environment's OPENAI_BASE_URL unless given."""
    api_key_env: Annotated[str, Field(json_schema_extra=Operational)] = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key."""
    concurrency: Annotated[int, Field(ge=1, json_schema_extra=Operational)] = 8
    """Most requests in flight at once, over all replicas. Fewer are sent while a server limits the rate or is slow."""
    timeout_s: Annotated[float, Field(gt=0, json_schema_extra=Operational)] = 300.0
    """Longest wait for one answer, from its first byte to its last; a server on CPU needs minutes for its first."""
    max_retries: Annotated[int, Field(ge=0, json_schema_extra=Operational)] = 6
    """Further attempts after a rate limit, a server error, a broken connection or a timeout, with backoff."""

    @field_validator("base_url")
    @classmethod
    def _url_without_secret(cls, url: str, info: ValidationInfo) -> str:
        return url if not url and info.data.get("replicas") else check_base_url(url)

    @field_validator("api_key_env")
    @classmethod
    def _name_not_key(cls, name: str) -> str:
        return check_key_name(name)

    @property
    def servers(self) -> tuple[ReplicaSpec, ...]:
        """Every server to ask."""
        return self.replicas or (ReplicaSpec(base_url=self.base_url),)

    def key_name(self, server: ReplicaSpec) -> str:
        return server.api_key_env or self.api_key_env
