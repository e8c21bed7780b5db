"""Which model server, and how it is reached."""

import os
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError

Operational = {"operational": True}
ENVIRONMENT_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")


def _base_url_from_environment() -> str:
    return os.environ.get("OPENAI_BASE_URL", "")


class EndpointSpec(Spec):
    """An OpenAI-compatible server. The key is read from the environment, and from nowhere else."""

    model: str
    """Name of the model, as the endpoint serves it."""
    revision: str = "unstated"
    """Revision or weights hash of the served model. Answers of one revision are never taken for another's."""
    base_url: Annotated[str, Field(default_factory=_base_url_from_environment, json_schema_extra=Operational)]
    """Address up to and with /v1; the environment's OPENAI_BASE_URL unless given."""
    api_key_env: Annotated[str, Field(json_schema_extra=Operational)] = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key."""
    concurrency: Annotated[int, Field(ge=1, json_schema_extra=Operational)] = 8
    """Requests in flight at once."""
    timeout_s: Annotated[float, Field(gt=0, json_schema_extra=Operational)] = 300.0
    """Longest wait for one answer; a server on CPU needs minutes for its first."""
    max_retries: Annotated[int, Field(ge=0, json_schema_extra=Operational)] = 6
    """Further attempts after a rate limit, a server error, a broken connection or a timeout, with backoff."""

    @field_validator("base_url")
    @classmethod
    def _url_without_secret(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SpecError(
                "base_url", url, allowed="http(s)://host/v1", mend="Give it here or in OPENAI_BASE_URL."
            )
        if parts.username or parts.password or parts.query:
            shown = f"{parts.scheme}://…@{parts.hostname}"
            raise SpecError(
                "base_url", shown, mend="Leave credentials out of the address: set OPENAI_API_KEY."
            )
        return url

    @field_validator("api_key_env")
    @classmethod
    def _name_not_key(cls, name: str) -> str:
        if ENVIRONMENT_NAME.fullmatch(name) is None:
            raise SpecError(
                "api_key_env", "…", allowed="A-Z, 0-9, _", mend="Name a variable; never write the key here."
            )
        return name
