"""The driver's end: ranges of features dealt to workers, lost workers replaced, results in order."""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError

from thresher.contracts.errors import ClusterError
from thresher.labeling.budget.account import Account
from thresher.labeling.budget.budget import Budget
from thresher.labeling.fan_out.kept_budget import start_keeper
from thresher.labeling.fan_out.worker import LabelWorker, Uncounted
from thresher.labeling.labels import Label
from thresher.labeling.opening import OpenRun
from thresher.labeling.scorers.calibration import Calibrations, FeatureReadings
from thresher.labeling.scores import Contest, Score
from thresher.labeling.selection import SelectedFeature
from thresher.labeling.spec import LabelSpec
from thresher.runtime.progress import Meter
from thresher.runtime.ray_cluster import connect

logger = logging.getLogger(__name__)

MAX_RANGE = 32
RANGES_A_WORKER = 4
"""At least so many, so that a slow one delays the end little."""
MAX_LOSSES_A_WORKER = 3
IDLE_S = 0.1
ItemT = TypeVar("ItemT")
Method = Literal["explain", "calibration_readings", "write_ahead", "score"]


def ranges(items: Sequence[ItemT], num_workers: int) -> list[Sequence[ItemT]]:
    """Consecutive parts, of one size but for the last."""
    size = max(1, min(MAX_RANGE, -(-len(items) // (num_workers * RANGES_A_WORKER))))
    return [items[start : start + size] for start in range(0, len(items), size)]


@dataclass
class _Dealt:
    """Which ranges are left, and what the others brought."""

    left: deque[int]
    results: dict[int, list[Any]] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    """Those whose worker was lost: it may have stored answers that the others have not seen."""

    def take(self) -> int | None:
        return self.left.popleft() if self.left else None

    def give_back(self, index: int | None) -> None:
        if index is not None:
            self.left.append(index)
            self.lost.add(index)


class FanOut:
    """Workers of one run, for as long as the block lasts.

    A range whose worker is lost is given to another, which finds the answers that were stored. A worker that Ray
    cannot place yet joins later; the others go on without it.
    """

    def __init__(
        self, run: OpenRun, budget: Budget, account: Account, roots: Mapping[str, str | None]
    ) -> None:
        self._run, self._budget, self._account, self._roots = run, budget, account, dict(roots)
        self._num_workers = run.spec.workers
        self._num_losses = 0
        self._workers: list[Any] = []
        self._keeper: Any | None = None

    async def __aenter__(self) -> Self:
        connect()
        self._keeper = start_keeper(self._budget) if self._budget.is_limited else None
        self._workers = [self._start() for _ in range(self._num_workers)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in self._workers if self._keeper is None else [*self._workers, self._keeper]:
            ray.kill(actor)

    async def explain(self, selected: Sequence[SelectedFeature], meter: Meter) -> list[Label]:
        """As Workshop.explain. Raises: ClusterError, if workers are lost again and again."""
        return await self._map("explain", selected, meter)

    async def calibration_readings(
        self, own: Sequence[tuple[int, str]], meter: Meter
    ) -> list[FeatureReadings]:
        """As Workshop.calibration_readings. Raises: as explain."""
        return await self._map("calibration_readings", own, meter)

    async def score(self, listed: Sequence[Contest], calibrations: Calibrations, meter: Meter) -> list[Score]:
        """As Workshop.score. Raises: as explain.

        Texts of a label are written by one worker, before others try it as a shuffled one.
        """
        if _is_written_ahead(self._run.spec):
            own = [(contest.feature, contest.claims[0].text) for contest in listed]
            await self._map("write_ahead", own, Uncounted())
            await asyncio.gather(
                *(self._call(place, "read_ledger_again") for place in range(self._num_workers))
            )
        found = await self._map("score", listed, meter, calibrations)
        return [score for scores in found for score in scores]

    async def _map(self, method: Method, items: Sequence[Any], meter: Meter, *others: Any) -> list[Any]:
        """What the method makes of each item, in order."""
        parts = ranges(items, self._num_workers)
        if not parts:
            return []
        dealt = _Dealt(deque(range(len(parts))))

        async def work(place: int) -> None:
            while len(dealt.results) < len(parts):
                index: int | None = None
                try:
                    await self._call(place, "process")  # one that has no place yet takes nothing
                    index = dealt.take()
                    if index is None:
                        await asyncio.sleep(IDLE_S)  # a range of a lost worker may come back
                        continue
                    if index in dealt.lost:
                        await self._call(place, "read_ledger_again")
                    dealt.results[index], noted = await self._call(place, method, parts[index], *others)
                except RayActorError as error:
                    dealt.give_back(index)
                    self._replace(place, error)
                    continue
                for entry in noted:
                    self._account.add(entry)
                meter.advance(len(parts[index]))

        await _until_first_end([asyncio.create_task(work(place)) for place in range(self._num_workers)])
        refusal = None if self._keeper is None else await self._keeper.refusal.remote()
        if refusal is not None:
            self._budget.exhaust(refusal)
        return [row for index in range(len(parts)) for row in dealt.results[index]]

    async def _call(self, place: int, method: str, *arguments: Any) -> Any:
        try:
            return await getattr(self._workers[place], method).remote(*arguments)
        except RayTaskError as error:
            raise error.cause or error from error

    def _start(self) -> Any:
        worker = ray.remote(num_cpus=1, max_restarts=0)(LabelWorker)
        return worker.remote(self._run.spec.model_dump_json(), self._roots, self._keeper)

    def _replace(self, place: int, error: RayActorError) -> None:
        self._num_losses += 1
        if self._num_losses > MAX_LOSSES_A_WORKER * self._num_workers:
            raise ClusterError(
                f"Workers were lost {self._num_losses} times, the last: {error} What was answered is stored: mend "
                "the cause and run again."
            ) from error
        logger.warning("A worker was lost, another takes its place: %s", error)
        self._workers[place] = self._start()


def _is_written_ahead(spec: LabelSpec) -> bool:
    """Not what a cascade may spare."""
    is_certain = spec.cascade is None or "generation" in spec.cascade.first
    return spec.generation is not None and spec.baseline.num_shuffles > 0 and is_certain


async def _until_first_end(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Until one task ends: then all is done, or it failed. The others are let go."""
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
