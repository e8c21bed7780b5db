"""A hard stop on tokens: reserve the most a request can cost, then settle what it did cost."""

from thresher.contracts.errors import ThresherError


class BudgetExhaustedError(ThresherError):
    """The next request could exceed the budget."""


class Budget:
    """Tokens left to spend. Once a reservation is refused, all later ones are.

    Args:
        max_tokens: the limit, or None for none.
        num_spent: tokens that earlier attempts at the same run have spent.
    """

    def __init__(self, max_tokens: int | None, num_spent: int = 0) -> None:
        self._max_tokens, self._num_committed, self._exhausted = max_tokens, num_spent, False

    @property
    def exhausted(self) -> bool:
        return self._exhausted

    def reserve(self, num_tokens: int) -> None:
        """Set aside `num_tokens`.

        Raises:
            BudgetExhaustedError: they are not left.
        """
        if self._max_tokens is not None and self._num_committed + num_tokens > self._max_tokens:
            self._exhausted = True
        if self._exhausted:
            raise BudgetExhaustedError(
                f"budget.max_tokens = {self._max_tokens:,} is reached: raise it and run again, "
                "stored answers are not paid for twice."
            )
        self._num_committed += num_tokens

    @property
    def is_limited(self) -> bool:
        return self._max_tokens is not None

    def exhaust(self) -> None:
        """Refuse from now on, as another that shares the limit has been."""
        self._exhausted = True

    def settle(self, num_reserved: int, num_used: int) -> None:
        """Replace a reservation by what was used (0 for a request that failed)."""
        self._num_committed += num_used - num_reserved
