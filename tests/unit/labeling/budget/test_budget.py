import random

import pytest

from thresher.contracts.errors import SpecError
from thresher.labeling.budget.account import Account, charged_to
from thresher.labeling.budget.budget import Budget, BudgetExhaustedError
from thresher.labeling.budget.prices import Charge, PriceTable, Usage
from thresher.labeling.budget.spec import BudgetSpec, PriceSpec
from thresher.labeling.endpoints.requests import ModelRequest

PRICES = PriceTable({"m": PriceSpec(prompt=2.0, completion=8.0, cached_prompt=0.5)})


def test_cached_tokens_have_a_price_of_their_own() -> None:
    assert PRICES.charge("m", Usage(1_000_000, 500_000, 400_000)).cost == pytest.approx(1.2 + 0.2 + 4.0)
    dear = PriceTable({"m": PriceSpec(prompt=2.0, completion=8.0)})
    assert dear.charge("m", Usage(1_000_000, 0, 400_000)).cost == pytest.approx(2.0)
    assert PRICES.charge("other", Usage(1, 1)).cost is None


def test_the_cost_never_exceeds_the_limit() -> None:
    draw = random.Random(0)
    budget = Budget(None, max_cost=1.0, prices=PRICES)
    spent, waiting = 0.0, []
    while not budget.exhausted:
        most = PRICES.charge("m", Usage(draw.randrange(1, 20_000), draw.randrange(1, 2_000)))
        try:
            budget.reserve(most)
        except BudgetExhaustedError:
            break
        waiting.append(most)
        if len(waiting) > 5:
            reserved = waiting.pop(0)
            used = Charge(reserved.num_tokens, (reserved.cost or 0) * draw.random())
            budget.settle(reserved, used)
            spent += used.cost or 0
    spent += sum(most.cost or 0 for most in waiting)
    assert 0.9 < spent <= 1.0
    assert "budget.max_cost = 1" in str(budget.refusal)


def test_what_was_spent_before_counts() -> None:
    budget = Budget(100, Charge(90, 0.0))
    budget.reserve(Charge(10, 0.0))
    with pytest.raises(BudgetExhaustedError, match="max_tokens = 100"):
        budget.reserve(Charge(1, 0.0))


def test_a_limit_can_be_met_exactly() -> None:
    budget = Budget(None, max_cost=0.3)
    for _ in range(3):
        budget.reserve(Charge(1, 0.1))  # 0.30000000000000004 in floats
    with pytest.raises(BudgetExhaustedError):
        budget.reserve(Charge(1, 0.1))


def test_prices_are_read_from_a_file(tmp_path) -> None:
    (tmp_path / "prices.yaml").write_text("m: {prompt: 1, completion: 2}\n")
    spec = BudgetSpec.parse({"prices": str(tmp_path / "prices.yaml")})
    assert spec.prices["m"] == PriceSpec(prompt=1, completion=2)
    assert "prices.yaml" not in spec.model_dump_json(), "the resolved spec holds the prices"


@pytest.mark.parametrize(
    "text", [None, "- a\n", "m: {prompt: -1, completion: 2}\n", "m: {prompt: 1}\n", "a: [\n"]
)
def test_prices_that_are_none(tmp_path, text) -> None:
    if text is not None:
        (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        BudgetSpec.parse({"prices": str(tmp_path / "p.yaml")})
    assert "prices" in caught.value.field


def test_a_limit_on_cost_needs_prices(label_spec) -> None:
    with pytest.raises(SpecError, match="price of scripted") as caught:
        label_spec(budget={"max_cost": 1.0})
    assert caught.value.field == "budget.prices"


def request(text: str, purpose: str = "explain") -> ModelRequest:
    return ModelRequest(purpose, "m", "1", {"prompt": text}, 10)


def test_each_request_counts_once_and_for_the_first_feature() -> None:
    account = Account(PRICES)
    for feature in (7, 3, 5):
        with charged_to(feature):
            account.note("shelf", request("shared"), Usage(100, 10), is_paid=True)
    with charged_to(5):
        account.note("shelf", request("own", "detection"), Usage(50, 5), is_paid=False)
    account.note("shelf", request("nobody's", "detection"), Usage(1, 1), is_paid=True)
    assert {key: usage for key, (usage, _) in account.usage_of_features().items()} == {
        3: Usage(100, 10),
        5: Usage(50, 5),
    }
    purposes = account.by_purpose()
    assert (purposes["detection"].num_calls, purposes["detection"].num_calls_paid) == (2, 1)
    assert purposes["detection"].num_tokens_paid == 2
    assert account.total().num_prompt_tokens == 151
    assert len(account.answers()["shelf"]) == 3


def test_accounts_of_workers_add_up() -> None:
    whole, parts = Account(PRICES), [Account(PRICES), Account(PRICES)]
    for index in range(20):
        for account in (whole, parts[index % 2]):
            with charged_to(index % 6):
                account.note("shelf", request(str(index % 9)), Usage(index % 9, 1), is_paid=True)
    merged = Account(PRICES)
    for part in parts:
        for entry in part.take():
            merged.add(entry)
        assert part.take() == []
    assert merged.usage_of_features() == whole.usage_of_features()
    assert merged.by_purpose() == whole.by_purpose()
