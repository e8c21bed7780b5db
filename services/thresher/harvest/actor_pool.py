"""Runs shards on actors: starts them, hands them work, hears what became of it. What to do about it is the scheduler's.

One thread reads one queue of events, which the calls' futures fill: an event costs the same with one actor and with
hundreds.
"""

import itertools
import logging
import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from thresher.harvest.actor import CallResult, RunningActor, StartActor, cause_of, loss_of
from thresher.harvest.plan import ShardPlan
from thresher.harvest.scheduler import Group, Loss, PoisonRange, Scheduler
from thresher.harvest.spec import HarvestSpec

logger = logging.getLogger(__name__)

WAKE_UP_S = 1.0
"""How often the pool looks whether an actor is to be started, besides at each event."""
REMIND_AFTER_S = 60.0
"""How long no engine stands before that is said."""


@dataclass
class ActorFigures:
    """What one actor did."""

    start_s: float | None = None
    """From the request to Ray until the engine stood; null if it never did."""
    num_shards: int = 0
    num_tokens: int = 0
    engine_wait_s: float = 0.0


@dataclass
class _Held:
    """An actor of the pool."""

    actor: RunningActor
    asked_s: float
    figures: ActorFigures = field(default_factory=ActorFigures)


class ActorPool:
    """The actors of one harvest. Elastic: what Ray cannot place yet joins later, what is lost is replaced.

    Args:
        spec: what is harvested, and with how many actors.
        sequence_length: of the corpus.
        plans: the shards to make.
        start_actor: asks for one actor.
    """

    def __init__(
        self, spec: HarvestSpec, sequence_length: int, plans: list[ShardPlan], start_actor: StartActor
    ) -> None:
        self._spec, self._sequence_length, self._start_actor = spec, sequence_length, start_actor
        self._scheduler = Scheduler(spec.actors, spec.engine.tensor_parallel, plans)
        self._events: queue.SimpleQueue[Callable[[], CallResult | None]] = queue.SimpleQueue()
        self._held: dict[int, _Held] = {}
        self._numbers = itertools.count()
        self._stood_s = time.monotonic()
        self.figures: list[ActorFigures] = []

    @property
    def poison(self) -> list[PoisonRange]:
        """Shards that were set aside."""
        return self._scheduler.poison

    @property
    def num_failures(self) -> int:
        """Calls that failed and actors that were lost."""
        return self._scheduler.num_failures

    def run(self) -> Iterator[CallResult]:
        """Yield what each call brought, until all shards are committed or set aside, or too many are set aside.

        Raises:
            SpecError, StoreError: what another try would meet again.
            ThresherError: actors end before their engine stands.
        """
        try:
            while not self._scheduler.is_done:
                self._deal()
                try:
                    result = self._events.get(timeout=WAKE_UP_S)()
                except queue.Empty:
                    self._remind()
                    continue
                if result is not None:
                    yield result
        finally:
            for number in list(self._held):
                self._end(number)

    def _deal(self) -> None:
        for number in self._scheduler.surplus_actors():
            self._scheduler.remove(number)
            self._end(number)
        for _ in range(self._scheduler.missing_actors(time.monotonic())):
            self._start()
        for number, group in self._scheduler.assignments():
            self._watch(self._held[number].actor.harvest(list(group)), self._on_call, number, group)

    def _start(self) -> None:
        number = next(self._numbers)
        held = _Held(self._start_actor(self._spec, self._sequence_length), time.monotonic())
        self._held[number] = held
        self.figures.append(held.figures)
        self._scheduler.add_starting(number)
        self._watch(held.actor.start(), self._on_start, number)
        self._watch(held.actor.told_to_go(), self._on_told_to_go, number)

    def _watch(self, future: Future[Any], handler: Callable[..., CallResult | None], *arguments: Any) -> None:
        future.add_done_callback(lambda done: self._events.put(lambda: handler(done, *arguments)))

    def _on_start(self, done: Future[None], number: int) -> None:
        if number not in self._held:
            return
        error = done.exception()
        if error is not None:
            self._lose(number, loss_of(error) or Loss.CRASHED, error)
            return
        held = self._held[number]
        held.figures.start_s = time.monotonic() - held.asked_s
        self._scheduler.set_standing(number)
        logger.info("An engine stands after %.1f s.", held.figures.start_s)

    def _on_told_to_go(self, done: Future[None], number: int) -> None:
        if number not in self._held or done.exception() is not None:
            return  # gone: its other calls say why
        logger.warning("An actor was told to go: it finishes what it has, and another takes its place.")
        self._scheduler.set_draining(number)

    def _on_call(self, done: Future[CallResult], number: int, group: Group) -> CallResult | None:
        if number not in self._held:
            return None
        error = done.exception()
        if error is None:
            return self._finish(number, group, done.result())
        loss = loss_of(error)
        if loss is not None:
            self._lose(number, loss, error)
        else:
            self._scheduler.fail(number, group, cause_of(error))
        return None

    def _finish(self, number: int, group: Group, result: CallResult) -> CallResult:
        figures = self._held[number].figures
        figures.num_shards += len(group) - len(result.found)
        figures.num_tokens += sum(plan.num_tokens for plan in group if plan.index not in result.found)
        figures.engine_wait_s = result.engine_wait_s
        self._scheduler.finish(number, group)
        return result

    def _lose(self, number: int, loss: Loss, error: BaseException) -> None:
        self._end(number)
        self._scheduler.lose(number, loss, cause_of(error), time.monotonic())

    def _end(self, number: int) -> None:
        self._held.pop(number).actor.end()

    def _remind(self) -> None:
        if self._scheduler.num_standing:
            self._stood_s = time.monotonic()
        elif time.monotonic() - self._stood_s > REMIND_AFTER_S:
            self._stood_s = time.monotonic()
            logger.warning(
                "No engine stands yet: %d actors wait for room or load their model (each needs %s).",
                len(self._held),
                self._spec.actors.model_dump(include={"num_cpus", "num_gpus"}),
            )
