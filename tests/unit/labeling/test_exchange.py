"""Asking over real HTTP: faults of the endpoint, deduplication, and answers that outlive the process."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from thresher.contracts.errors import EndpointError, SpecError, StoreError
from thresher.labeling.budget.budget import Budget, BudgetExhaustedError
from thresher.labeling.budget.prices import Usage
from thresher.labeling.endpoints.client import MAX_FAILURES_IN_A_ROW, EndpointClient
from thresher.labeling.endpoints.requests import ModelRequest, RequestFailedError
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.ledger.ledger import Ledger
from thresher.storage import open_store

SHELF = "responses/scripted/1"


def request(text: str = "«ship»", revision: str = "1") -> ModelRequest:
    body = {"model": "scripted", "messages": [{"role": "user", "content": text}]}
    return ModelRequest("explain", "scripted", revision, body, max_total_tokens=100)


@pytest.fixture
def ask_all(scripted_llm, tmp_path) -> Callable[..., list]:
    """Ask several requests at once, in a run of their own or of a given name."""

    def ask(
        *requests: ModelRequest,
        run_id: str = "run",
        budget: Budget | None = None,
        max_retries: int = 2,
        timeout_s: float = 20,
        is_dated: bool = False,
    ) -> list:
        async def all_at_once() -> list:
            spec = EndpointSpec(
                model="scripted", base_url=scripted_llm.base_url, max_retries=max_retries, timeout_s=timeout_s
            )
            ledger = Ledger(open_store(f"file://{tmp_path}/store"), SHELF, run_id, is_dated=is_dated)
            async with Exchange(EndpointClient(spec), ledger, budget or Budget(None)) as exchange:
                asked: list[Awaitable] = [exchange.ask(item) for item in requests]
                return await asyncio.gather(*asked, return_exceptions=True)

        return asyncio.run(all_at_once())

    return ask


@pytest.mark.parametrize("fault", ["rate_limit", "server_error", "hang_up", "truncated", "malformed"])
def test_passing_faults_are_ridden_out(scripted_llm, ask_all, fault) -> None:
    scripted_llm.faults.extend([fault, fault])
    (answer,) = ask_all(request())
    assert answer.choice["message"]["content"] == "words about the sea"
    assert len(scripted_llm.requests) == 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("rate_limit", EndpointError),
        ("hang_up", EndpointError),
        ("no_credit", EndpointError),
        ("server_error", RequestFailedError),
        ("malformed", RequestFailedError),
        ("bad_request", RequestFailedError),
    ],
)
def test_lasting_faults_end_the_run_or_the_request(scripted_llm, ask_all, fault, error) -> None:
    scripted_llm.always = fault
    (found,) = ask_all(request(), max_retries=0)
    assert type(found) is error


def test_an_endpoint_that_fails_everything_ends_the_run(scripted_llm, ask_all) -> None:
    scripted_llm.always = "server_error"
    found = ask_all(*(request(str(index)) for index in range(MAX_FAILURES_IN_A_ROW)), max_retries=0)
    assert [type(error) for error in found].count(EndpointError) == 1
    assert "in a row" in str(next(error for error in found if isinstance(error, EndpointError)))


def test_a_slow_answer_names_the_timeout(scripted_llm, ask_all) -> None:
    scripted_llm.delay_s = 1.2
    (found,) = ask_all(request(), max_retries=0, timeout_s=1)
    assert isinstance(found, EndpointError)
    assert "timeout_s" in str(found)


def test_equal_requests_are_sent_once(scripted_llm, ask_all) -> None:
    answers = ask_all(*[request()] * 5, request("«red»"))
    assert len(scripted_llm.requests) == 2
    assert len({answer.received_at for answer in answers}) == 2


def test_answers_are_found_by_later_runs_of_the_same_revision(scripted_llm, ask_all) -> None:
    first = ask_all(request(), run_id="one")
    assert ask_all(request(), run_id="one") == first
    assert ask_all(request(), run_id="two") == first
    assert len(scripted_llm.requests) == 1
    ask_all(request(revision="2"), run_id="two")
    assert len(scripted_llm.requests) == 2


def test_parts_are_never_overwritten(ask_all, tmp_path) -> None:
    store = open_store(f"file://{tmp_path}/store")
    written: dict[str, str] = {}
    for text in ("a", "b", "c"):
        ask_all(request(text))
        parts = {info.key: info.etag for info in store.list(f"{SHELF}/log/run/")}
        assert written.items() <= parts.items()
        written = parts
    assert len(written) == 3


def test_two_attempts_at_one_run_take_different_part_names(scripted_llm, tmp_path) -> None:
    """Both listed the parts before either wrote one."""

    async def both() -> None:
        spec = EndpointSpec(model="scripted", base_url=scripted_llm.base_url)
        store = open_store(f"file://{tmp_path}/store")
        exchanges = [
            Exchange(EndpointClient(spec), Ledger(store, SHELF, "run"), Budget(None)) for _ in range(2)
        ]
        async with exchanges[0], exchanges[1]:
            await asyncio.gather(exchanges[0].ask(request("a")), exchanges[1].ask(request("b")))

    asyncio.run(both())
    ledger = Ledger(open_store(f"file://{tmp_path}/store"), SHELF, "run")
    assert ledger.paid() == Usage(0, 10)


def test_answers_of_a_moment_share_a_part(scripted_llm, ask_all, tmp_path) -> None:
    ask_all(*(request(str(index)) for index in range(20)))
    assert len(list(open_store(f"file://{tmp_path}/store").list(f"{SHELF}/log/run/"))) < 10


def test_an_answer_that_cannot_be_stored_is_not_given(scripted_llm, tmp_path, monkeypatch) -> None:
    async def ask() -> None:
        store = open_store(f"file://{tmp_path}/store")
        ledger = Ledger(store, SHELF, "run")

        def refuse(*_: object, **__: object) -> None:
            raise StoreError("disk full")

        monkeypatch.setattr(store, "put", refuse)
        spec = EndpointSpec(model="scripted", base_url=scripted_llm.base_url)
        async with Exchange(EndpointClient(spec), ledger, Budget(None)) as exchange:
            await exchange.ask(request())

    with pytest.raises(StoreError, match="disk full"):
        asyncio.run(ask())


def test_the_budget_refuses_before_sending_and_stays_shut(scripted_llm, ask_all) -> None:
    budget = Budget(150)
    assert isinstance(ask_all(request("a" * 4), budget=budget)[0].num_tokens, int)  # costs 6, reserved 100
    refused = ask_all(*(request(f"{index}") for index in range(2)), budget=budget)
    assert [type(item) for item in refused].count(BudgetExhaustedError) == 1
    assert len(scripted_llm.requests) == 2
    assert budget.exhausted
    assert isinstance(ask_all(request("later"), budget=budget)[0], BudgetExhaustedError)


def test_failed_requests_cost_nothing(scripted_llm, ask_all) -> None:
    scripted_llm.faults.append("bad_request")
    budget = Budget(100)
    assert isinstance(ask_all(request("a"), budget=budget)[0], RequestFailedError)
    assert not isinstance(ask_all(request("b"), budget=budget)[0], Exception)


def test_concurrency_is_bounded_but_used(scripted_llm, ask_all) -> None:
    scripted_llm.delay_s = 0.2
    start_s = time.monotonic()
    ask_all(*(request(str(index)) for index in range(16)))  # 8 at once
    assert 0.4 <= time.monotonic() - start_s < 16 * 0.2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_url", ""),
        ("base_url", "http://user:secret@host/v1"),
        ("base_url", "http://host/v1?key=secret"),
        ("api_key_env", "sk-secret"),
    ],
)
def test_secrets_and_bad_addresses_are_refused_and_not_shown(field, value) -> None:
    with pytest.raises(SpecError) as caught:
        EndpointSpec.parse({"model": "m", "base_url": "http://host/v1", field: value})
    assert caught.value.field == field
    assert "secret" not in str(caught.value)
