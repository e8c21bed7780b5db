"""The Ray actor that explains and scores ranges of features. Thin: the work is the workshop's."""

import os
from collections.abc import Sequence
from typing import Any

from thresher.labeling.budget.account import Account, Entry
from thresher.labeling.budget.budget import Budget
from thresher.labeling.fan_out.kept_budget import KeptBudget
from thresher.labeling.labels import Label
from thresher.labeling.opening import open_run
from thresher.labeling.scorers.calibration import Calibrations, FeatureReadings
from thresher.labeling.scores import Contest, Score
from thresher.labeling.selection import SelectedFeature
from thresher.labeling.spec import LabelSpec
from thresher.labeling.workshop import Workshop


class Uncounted:
    """A meter of nobody: the driver counts ranges."""

    def advance(self, amount: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class LabelWorker:
    """Its ledger holds what every worker had stored when it started; it writes parts of its own.

    Args:
        spec_json: of the run.
        roots: what is loaded behind each model's name, as the driver found.
        keeper: of the budget; None where nothing is limited.
    """

    def __init__(self, spec_json: str, roots: dict[str, str | None], keeper: Any | None) -> None:
        run = open_run(LabelSpec.model_validate_json(spec_json))
        prices = run.spec.prices
        budget = Budget(None, prices=prices) if keeper is None else KeptBudget(keeper, prices)
        self._account = Account(prices)
        self._shop = Workshop(run, budget, self._account)
        self._roots = roots
        self._shop.open_ledgers(roots)

    async def process(self) -> int:
        """Of the worker; answers once it stands."""
        return os.getpid()

    async def read_ledger_again(self) -> None:
        """See what was stored by others since."""
        self._shop.open_ledgers(self._roots)

    async def explain(self, selected: Sequence[SelectedFeature]) -> tuple[list[Label], list[Entry]]:
        """Labels, and what was asked for them."""
        self._shop.open_book([item.feature for item in selected])
        return await self._shop.explain(selected, Uncounted()), self._account.take()

    async def calibration_readings(
        self, own: Sequence[tuple[int, str]]
    ) -> tuple[list[FeatureReadings], list[Entry]]:
        """Readings, and what was asked for them."""
        self._shop.open_book([feature for feature, _ in own])
        return await self._shop.calibration_readings(own, Uncounted()), self._account.take()

    async def write_ahead(self, own: Sequence[tuple[int, str]]) -> tuple[list[None], list[Entry]]:
        """Nothing for each label, and what was asked for it."""
        await self._shop.write_ahead(own)
        return [None for _ in own], self._account.take()

    async def score(
        self, listed: Sequence[Contest], calibrations: Calibrations
    ) -> tuple[list[list[Score]], list[Entry]]:
        """The scores of each contest, and what was asked for them."""
        self._shop.open_book([contest.feature for contest in listed])
        scores = await self._shop.score(listed, calibrations, Uncounted())
        by_feature: dict[int, list[Score]] = {contest.feature: [] for contest in listed}
        for score in scores:
            by_feature[score.feature].append(score)
        return list(by_feature.values()), self._account.take()
