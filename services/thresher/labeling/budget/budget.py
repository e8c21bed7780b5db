"""Hard stops on tokens and cost: reserve the most a request can take, then settle what it did take."""

from thresher.contracts.errors import ThresherError
from thresher.labeling.budget.prices import Charge, PriceTable

ROUNDING = 1e-9  # of the cost: sums of floats that should meet a limit exactly may miss it by this share


class BudgetExhaustedError(ThresherError):
    """The next request could exceed the budget."""


class Budget:
    """What is left to spend. Once a reservation is refused, all later ones are.

    Args:
        max_tokens: the limit on tokens, or None for none.
        spent: what earlier attempts at the same run have spent.
        max_cost: the limit on cost, or None for none.
        prices: what tokens cost.
    """

    def __init__(
        self,
        max_tokens: int | None,
        spent: Charge | None = None,
        *,
        max_cost: float | None = None,
        prices: PriceTable | None = None,
    ) -> None:
        self._max_tokens, self._max_cost = max_tokens, max_cost
        self.prices = prices or PriceTable.empty()
        self._num_tokens, self._cost = (spent or Charge()).num_tokens, (spent or Charge()).cost or 0.0
        self._refusal: str | None = None

    @property
    def exhausted(self) -> bool:
        return self._refusal is not None

    @property
    def refusal(self) -> str | None:
        """Which limit was met, in words."""
        return self._refusal

    def reserve(self, most: Charge) -> None:
        """Set aside the most that a request can take.

        Raises:
            BudgetExhaustedError: it is not left.
        """
        if self._max_tokens is not None and self._num_tokens + most.num_tokens > self._max_tokens:
            self._refuse(f"budget.max_tokens = {self._max_tokens:,}")
        # A limit on cost asks for the price of every endpoint.
        cost = self._cost + (most.cost or 0.0)
        if self._max_cost is not None and cost > self._max_cost * (1 + ROUNDING):
            self._refuse(f"budget.max_cost = {self._max_cost:,g}")
        if self._refusal is not None:
            raise BudgetExhaustedError(self._refusal)
        self.add(most)

    @property
    def is_limited(self) -> bool:
        return self._max_tokens is not None or self._max_cost is not None

    def exhaust(self, refusal: str) -> None:
        """Refuse from now on, as another that shares the limit has been, in these words."""
        self._refusal = self._refusal or refusal

    def settle(self, reserved: Charge, used: Charge) -> None:
        """Replace a reservation by what was used (nothing for a request that failed)."""
        self._num_tokens += used.num_tokens - reserved.num_tokens
        self._cost += (used.cost or 0.0) - (reserved.cost or 0.0)

    def add(self, used: Charge) -> None:
        """Count what was spent without a reservation."""
        self._num_tokens += used.num_tokens
        self._cost += used.cost or 0.0

    def _refuse(self, limit: str) -> None:
        if self._refusal is None:
            self._refusal = (
                f"{limit} is reached: raise it and run again, stored answers are not paid for twice."
            )
