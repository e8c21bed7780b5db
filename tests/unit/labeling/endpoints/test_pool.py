"""Several servers of one model, over real HTTP."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from thresher.contracts.errors import EndpointError
from thresher.labeling.endpoints.client import EndpointClient
from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec

pytestmark = pytest.mark.slow


def request(text: str) -> ModelRequest:
    body = {"model": "scripted", "messages": [{"role": "user", "content": text}]}
    return ModelRequest("explain", "scripted", "1", body, 100)


def send_all(spec: EndpointSpec, count: int) -> list[Answer | BaseException]:
    async def run() -> list[Answer | BaseException]:
        client = EndpointClient(spec)
        try:
            sent = (client.send(request(str(index))) for index in range(count))
            return await asyncio.gather(*sent, return_exceptions=True)
        finally:
            await client.close()

    return asyncio.run(run())


@pytest.fixture
def pool_of(scripted_llms) -> Callable[..., EndpointSpec]:
    def make(*weights: float, **changes: object) -> EndpointSpec:
        replicas = [
            {"base_url": llm.base_url, "weight": weight}
            for llm, weight in zip(scripted_llms, weights, strict=False)
        ]
        return EndpointSpec.parse({"model": "scripted", "replicas": replicas, "max_retries": 3, **changes})

    return make


def test_load_follows_the_weights(scripted_llms, pool_of) -> None:
    for llm in scripted_llms[:2]:
        llm.delay_s = 0.05
    answers = send_all(pool_of(3, 1, concurrency=8), 160)
    assert all(isinstance(answer, Answer) for answer in answers)
    first, second = (len(llm.requests) for llm in scripted_llms[:2])
    assert 2 <= first / second <= 4


def test_concurrency_is_the_most_over_all(scripted_llms, pool_of) -> None:
    for llm in scripted_llms:
        llm.delay_s = 0.05
    send_all(pool_of(1, 1, 1, concurrency=6), 60)
    assert sum(llm.most_at_once for llm in scripted_llms) <= 8  # a handler counts until its bytes are out
    assert max(llm.most_at_once for llm in scripted_llms) <= 4


def test_a_failing_server_is_left_out_and_comes_back(scripted_llms, pool_of) -> None:
    sick, well = scripted_llms[:2]
    sick.always = "server_error"
    spec = pool_of(1, 1, concurrency=8)

    async def run() -> tuple[int, int]:
        client = EndpointClient(spec)
        await asyncio.gather(*(client.send(request(f"a{index}")) for index in range(80)))
        during = len(sick.requests)
        sick.always = None
        deadline_s = time.monotonic() + 20
        while len(sick.requests) < during + 20 and time.monotonic() < deadline_s:
            await asyncio.gather(*(client.send(request(f"b{time.monotonic()}{i}")) for i in range(8)))
        await client.close()
        return during, len(sick.requests)

    during, after = asyncio.run(run())
    assert 8 <= during < 30, "no more than it takes to find out, and trials"
    assert after >= during + 20, "it is back"
    assert len(well.requests) >= 80


def test_a_server_that_is_down_does_not_matter_to_the_others(scripted_llms, pool_of) -> None:
    spec = pool_of(1, 1)
    dead = spec.replicas[0].model_copy(update={"base_url": "http://127.0.0.1:9/v1"})
    spec = spec.model_copy(update={"replicas": (dead, spec.replicas[1])})
    assert all(isinstance(answer, Answer) for answer in send_all(spec, 40))


def test_a_key_that_one_server_refuses_is_said_at_the_start(scripted_llms, pool_of) -> None:
    scripted_llms[1].api_key = "right"

    async def run() -> None:
        client = EndpointClient(pool_of(1, 1))
        try:
            await client.served_models()
        finally:
            await client.close()

    with pytest.raises(EndpointError, match="OPENAI_API_KEY"):
        asyncio.run(run())


def test_retry_after_holds_for_the_whole_server(scripted_llm, pool_of) -> None:
    scripted_llm.failure_headers = {"Retry-After": "1"}
    scripted_llm.faults.append("rate_limit")
    spec = EndpointSpec(model="scripted", base_url=scripted_llm.base_url, max_retries=2, concurrency=1)
    send_all(spec, 4)
    arrivals = scripted_llm.arrivals_s
    assert arrivals[1] - arrivals[0] >= 0.99
    assert arrivals[-1] - arrivals[1] < 0.9


def test_retry_after_as_a_date(scripted_llm) -> None:
    due = datetime.now(UTC) + timedelta(seconds=3)
    scripted_llm.failure_headers = {"Retry-After": due.strftime("%a, %d %b %Y %H:%M:%S GMT")}
    scripted_llm.faults.append("busy")
    spec = EndpointSpec(model="scripted", base_url=scripted_llm.base_url, max_retries=2)
    (answer,) = send_all(spec, 1)
    assert isinstance(answer, Answer)
    assert scripted_llm.arrivals_s[1] - scripted_llm.arrivals_s[0] >= 1.5


def test_a_wait_of_hours_is_an_error_that_says_so(scripted_llm) -> None:
    scripted_llm.failure_headers = {"Retry-After": "7200"}
    scripted_llm.always = "rate_limit"
    spec = EndpointSpec(model="scripted", base_url=scripted_llm.base_url)
    (found,) = send_all(spec, 1)
    assert isinstance(found, EndpointError)
    assert "left alone for 7,200 s" in str(found)


def test_a_limited_server_is_asked_less(scripted_llm) -> None:
    """It bears three at once; with retries, all are answered, and few are refused."""
    scripted_llm.delay_s, scripted_llm.capacity = 0.03, 3
    spec = EndpointSpec(model="scripted", base_url=scripted_llm.base_url, concurrency=32, max_retries=8)
    answers = send_all(spec, 200)
    assert all(isinstance(answer, Answer) for answer in answers)
    assert len(scripted_llm.requests) < 300
