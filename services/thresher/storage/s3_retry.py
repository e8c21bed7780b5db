"""When and how often an S3 request is repeated.

botocore's own retries are off. They miss what a store must survive (a connection that breaks inside a body,
409 to a conditional write, a server that is away for half a minute: botocore 1.44 waits three seconds in
eight attempts), and two layers of retries would multiply.
"""

import logging
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError, SSLError
from botocore.exceptions import ConnectionError as BotoConnectionError

from thresher.contracts.errors import SpecError
from thresher.storage.s3_errors import CONFLICT, error_code

ResultT = TypeVar("ResultT")
BROKEN_CONNECTION = (BotoConnectionError, HTTPClientError, IncompleteReadError)
PASSING_CODES = frozenset(
    {
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "TooManyRequests",
        *CONFLICT,
    }
)
PASSING_STATUS = frozenset({429, 500, 502, 503, 504})
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff with jitter; the default rides out about 40 s."""

    max_attempts: int = 8
    first_delay_s: float = 0.5
    max_delay_s: float = 20.0

    @classmethod
    def from_environment(cls) -> "RetryPolicy":
        """The default, with AWS_MAX_ATTEMPTS attempts where that is set."""
        text = os.environ.get("AWS_MAX_ATTEMPTS")
        if text is None:
            return cls()
        if not text.isdecimal() or int(text) < 1:
            raise SpecError(
                "AWS_MAX_ATTEMPTS", text, allowed="1 or more", mend="Correct or unset the variable."
            )
        return cls(max_attempts=int(text))

    def run(self, name: str, request: Callable[[int], ResultT]) -> ResultT:
        """Call `request` with the attempt's number, from 0, until it succeeds; the last failure is raised."""
        attempt = 0
        while True:
            try:
                return request(attempt)
            except (ClientError, *BROKEN_CONNECTION) as error:
                attempt += 1
                if attempt >= self.max_attempts or not _may_pass(error):
                    raise
                delay_s = self._delay_s(attempt)
                logger.warning("%s: %s. Trying again in %.1f s.", name, _reason(error), delay_s)
                time.sleep(delay_s)

    def _delay_s(self, attempt: int) -> float:
        longest_s = min(self.max_delay_s, self.first_delay_s * 2.0 ** (attempt - 1))
        return random.uniform(0.5, 1.0) * longest_s


def _may_pass(error: Exception) -> bool:
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return error_code(error) in PASSING_CODES or status in PASSING_STATUS
    return not isinstance(error, SSLError)


def _reason(error: Exception) -> str:
    return error_code(error) if isinstance(error, ClientError) else type(error).__name__
