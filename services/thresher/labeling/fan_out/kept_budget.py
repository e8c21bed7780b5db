"""One budget for all workers: the driver's Ray keeps it, each worker reserves there before it sends.

What a lost worker had reserved stays reserved: it may have been spent. So the sum is never exceeded; a run that is
started again counts what is stored.
"""

from typing import Any

import ray

from thresher.labeling.budget.budget import Budget, BudgetExhaustedError


class BudgetKeeper:
    """Holds the budget; a Ray actor."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def reserve(self, num_tokens: int) -> str | None:
        """As Budget.reserve; returns what was said if it was refused."""
        try:
            self._budget.reserve(num_tokens)
        except BudgetExhaustedError as error:
            return str(error)
        return None

    def settle(self, num_reserved: int, num_used: int) -> None:
        self._budget.settle(num_reserved, num_used)

    def is_exhausted(self) -> bool:
        return self._budget.exhausted


class KeptBudget(Budget):
    """A worker's side of it."""

    def __init__(self, keeper: Any) -> None:
        super().__init__(None)
        self._keeper = keeper

    def reserve(self, num_tokens: int) -> None:
        refusal = ray.get(self._keeper.reserve.remote(num_tokens))
        if refusal is not None:
            raise BudgetExhaustedError(refusal)

    def settle(self, num_reserved: int, num_used: int) -> None:
        self._keeper.settle.remote(num_reserved, num_used)


def start_keeper(budget: Budget) -> Any:
    """An actor that holds a copy of the budget from now on."""
    return ray.remote(num_cpus=0, max_restarts=0)(BudgetKeeper).remote(budget)
