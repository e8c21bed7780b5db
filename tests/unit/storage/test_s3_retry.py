"""Which failures of S3 are tried again."""

from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, IncompleteReadError, SSLError

from thresher.storage.s3_retry import RetryPolicy

URL = "s3://bucket/key"


def answer(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")


PASSING = [
    answer("SlowDown", 503),
    answer("InternalError", 500),
    answer("ConditionalRequestConflict", 409),
    answer("RequestTimeout", 400),
    answer("Whatever", 429),
    EndpointConnectionError(endpoint_url="http://host"),
    IncompleteReadError(actual_bytes=1, expected_bytes=2),
]
LASTING = [
    answer("AccessDenied", 403),
    answer("NoSuchKey", 404),
    answer("PreconditionFailed", 412),
    answer("NotImplemented", 501),
    SSLError(endpoint_url="https://host", error="certificate"),
    KeyError("a bug"),
]


def failing(error: Exception, times: int, seen: list[int]) -> Callable[[int], str]:
    def request(attempt: int) -> str:
        seen.append(attempt)
        if attempt < times:
            raise error
        return "answer"

    return request


@pytest.fixture
def slept_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("thresher.storage.s3_retry.time.sleep", slept.append)
    return slept


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_may_pass_is_tried_again(error: Exception, slept_s: list[float]) -> None:
    seen: list[int] = []

    assert RetryPolicy().run(URL, failing(error, 3, seen)) == "answer"
    assert seen == [0, 1, 2, 3]
    assert len(slept_s) == 3


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_what_will_not_pass_is_raised_at_once(error: Exception, slept_s: list[float]) -> None:
    seen: list[int] = []

    with pytest.raises(type(error)):
        RetryPolicy().run(URL, failing(error, 1, seen))
    assert seen == [0]
    assert slept_s == []


def test_attempts_end_and_waits_grow(slept_s: list[float]) -> None:
    seen: list[int] = []

    with pytest.raises(ClientError):
        RetryPolicy().run(
            URL,
            failing(PASSING[0], 99, seen),  # type: ignore[arg-type]
        )
    assert len(seen) == 8
    longest_s = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0]
    assert all(top / 2 <= waited <= top for waited, top in zip(slept_s, longest_s, strict=True))


def test_each_wait_is_told(slept_s: list[float], caplog: pytest.LogCaptureFixture) -> None:
    RetryPolicy().run(URL, failing(PASSING[0], 1, []))

    assert f"{URL}: SlowDown. Trying again in" in caplog.text
