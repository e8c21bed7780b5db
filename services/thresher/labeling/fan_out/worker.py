"""The Ray actor that explains and scores ranges of features. Thin: the work is the workshop's."""

import os
from collections.abc import Sequence
from typing import Any

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
        keeper: of the budget; None where nothing is limited.
    """

    def __init__(self, spec_json: str, keeper: Any | None) -> None:
        self._run = open_run(LabelSpec.model_validate_json(spec_json))
        self._budget = Budget(None) if keeper is None else KeptBudget(keeper)
        self._shop = self._open_shop()

    async def process(self) -> int:
        """Of the worker; answers once it stands."""
        return os.getpid()

    async def read_ledger_again(self) -> None:
        """See what was stored by others since."""
        await self._shop.__aexit__(None, None, None)
        self._shop = self._open_shop()

    def _open_shop(self) -> Workshop:
        return Workshop(self._run, self._run.ledger(), self._budget)

    async def explain(self, selected: Sequence[SelectedFeature]) -> list[Label]:
        self._shop.open_book([item.feature for item in selected])
        return await self._shop.explain(selected, Uncounted())

    async def calibration_readings(self, own: Sequence[tuple[int, str]]) -> list[FeatureReadings]:
        self._shop.open_book([feature for feature, _ in own])
        return await self._shop.calibration_readings(own, Uncounted())

    async def score(self, listed: Sequence[Contest], calibrations: Calibrations) -> list[list[Score]]:
        """Of each contest."""
        self._shop.open_book([contest.feature for contest in listed])
        scores = await self._shop.score(listed, calibrations, Uncounted())
        by_feature: dict[int, list[Score]] = {contest.feature: [] for contest in listed}
        for score in scores:
            by_feature[score.feature].append(score)
        return list(by_feature.values())
