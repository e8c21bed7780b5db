"""What an exchange sends through: a client of an endpoint, or a model in this process."""

from collections.abc import Callable
from typing import Protocol

from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec


class ModelClient(Protocol):
    """Answers requests about one model."""

    spec: EndpointSpec

    async def send(self, request: ModelRequest, on_wasted: Callable[[], None] = lambda: None) -> Answer:
        """A well-formed answer.

        Args:
            on_wasted: called for each answer that came, was paid for and is of no use.

        Raises:
            EndpointError: nothing can be asked any more.
            RequestFailedError: this request alone failed.
        """

    async def close(self) -> None: ...
