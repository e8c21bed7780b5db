"""What an exchange sends through: a client of an endpoint, or a model in this process."""

from typing import Protocol

from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec


class ModelClient(Protocol):
    """Answers requests about one model."""

    spec: EndpointSpec

    async def send(self, request: ModelRequest) -> Answer:
        """A well-formed answer.

        Raises:
            EndpointError: nothing can be asked any more.
            RequestFailedError: this request alone failed.
        """

    async def close(self) -> None: ...
