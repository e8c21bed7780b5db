"""One budget for all workers: the driver's Ray keeps it, each worker reserves there before it sends.

What a lost worker had reserved stays reserved: it may have been spent. So the sum is never exceeded; a run that is
started again counts what is stored.
"""

from typing import Any

import ray

from thresher.labeling.budget.budget import Budget, BudgetExhaustedError
from thresher.labeling.budget.prices import Charge, PriceTable


class BudgetKeeper:
    """Holds the budget; a Ray actor."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def reserve(self, most: Charge) -> str | None:
        """As Budget.reserve; returns what was said if it was refused."""
        try:
            self._budget.reserve(most)
        except BudgetExhaustedError as error:
            return str(error)
        return None

    def settle(self, reserved: Charge, used: Charge) -> None:
        self._budget.settle(reserved, used)

    def add(self, used: Charge) -> None:
        self._budget.add(used)

    def refusal(self) -> str | None:
        return self._budget.refusal


class KeptBudget(Budget):
    """A worker's side of it."""

    def __init__(self, keeper: Any, prices: PriceTable) -> None:
        super().__init__(None, prices=prices)
        self._keeper = keeper

    def reserve(self, most: Charge) -> None:
        refusal = ray.get(self._keeper.reserve.remote(most))
        if refusal is not None:
            raise BudgetExhaustedError(refusal)

    def settle(self, reserved: Charge, used: Charge) -> None:
        self._keeper.settle.remote(reserved, used)

    def add(self, used: Charge) -> None:
        self._keeper.add.remote(used)


def start_keeper(budget: Budget) -> Any:
    """An actor that holds a copy of the budget from now on."""
    return ray.remote(num_cpus=0, max_restarts=0)(BudgetKeeper).remote(budget)
