"""Who gets which shards, and whose fault a failure is. Plain decisions, without Ray; actor_pool.py carries them out.

A failure counts against a shard only where it is certain that the shard did it: when it ran alone on its actor. Calls
in flight share batches and the thread that writes, so where one of several fails, each of their shards is a suspect:
it runs again, alone, and then a failure counts. So a poison range never takes its neighbours with it.
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from thresher.contracts.errors import SpecError, StoreError, ThresherError
from thresher.harvest.plan import ShardPlan
from thresher.harvest.spec import ActorsSpec

logger = logging.getLogger(__name__)

CALLS_IN_FLIGHT = 3
"""Calls an actor has at once: one prefills, a second is written and committed, and a third is there to be run when the
first has ended, however long that commit takes to be answered."""
FIRST_DELAY_S = 10.0
LONGEST_DELAY_S = 300.0

Group = tuple[ShardPlan, ...]


class Loss(Enum):
    """Why an actor is gone."""

    PREEMPTED = "its node was lost"
    CRASHED = "its process died"


class _Stage(Enum):
    STARTING = 1
    STANDING = 2
    DRAINING = 3
    """It was told to go: it finishes what it has, and no failure of it is any shard's."""
    BROKEN = 4
    """A call of it failed, so its engine may hold half a batch: it finishes what it can."""


@dataclass
class _Member:
    stage: _Stage = _Stage.STARTING
    running: list[Group] = field(default_factory=list)
    has_finished: bool = False

    @property
    def stays(self) -> bool:
        return self.stage in (_Stage.STARTING, _Stage.STANDING)


@dataclass(frozen=True)
class PoisonRange:
    """A shard that was set aside."""

    plan: ShardPlan
    num_failures: int
    cause: str

    def __str__(self) -> str:
        stop = self.plan.first_sequence + self.plan.num_sequences - 1
        return (
            f"shard {self.plan.index} (sequences {self.plan.first_sequence} to {stop}) failed "
            f"{self.num_failures} times, last: {self.cause}"
        )


class ActorStartError(ThresherError):
    """Actors end before their engine stands."""


class Scheduler:
    """Deals shards to the actors of one harvest. Actors are numbers here; time is the caller's.

    Args:
        options: how many actors, and how many failures are borne.
        group_size: shards an actor takes at once (its tensor-parallel ranks).
        plans: what is to be made, in order.
    """

    def __init__(self, options: ActorsSpec, group_size: int, plans: Iterable[ShardPlan]) -> None:
        self._options, self._group_size = options, group_size
        self._waiting: deque[ShardPlan] = deque(plans)
        self._suspects: deque[ShardPlan] = deque()
        self._suspected: set[int] = set()
        self._failures: dict[int, int] = {}
        self._members: dict[int, _Member] = {}
        self._failed_starts = 0
        self._start_again_s = 0.0
        self._store_errors = 0
        self.poison: list[PoisonRange] = []
        self.num_failures = 0
        """Calls that failed and actors that were lost, whoever's fault it was."""

    @property
    def is_done(self) -> bool:
        """Nothing waits and nothing runs; or more shards failed than are borne."""
        if len(self.poison) > self._options.max_failed_shards:
            return True
        return not self._has_waiting and not any(member.running for member in self._members.values())

    @property
    def num_standing(self) -> int:
        return sum(member.stage is _Stage.STANDING for member in self._members.values())

    @property
    def _has_waiting(self) -> bool:
        return bool(self._waiting or self._suspects)

    def missing_actors(self, now_s: float) -> int:
        """How many actors to start now: up to `count`, no more than there is work for."""
        if now_s < self._start_again_s and self.num_standing:
            return 0
        groups = -(-len(self._waiting) // self._group_size) + len(self._suspects)
        groups += sum(len(member.running) for member in self._members.values() if member.stays)
        staying = sum(member.stays for member in self._members.values())
        return max(0, min(self._options.count, groups) - staying) if self._has_waiting else 0

    def surplus_actors(self) -> list[int]:
        """Actors to end now: those without work that none will come for."""
        return [
            actor
            for actor, member in self._members.items()
            if not member.running and (not member.stays or not self._has_waiting)
        ]

    def assignments(self) -> Iterator[tuple[int, Group]]:
        """Deal what waits to actors that have a call free, those with the fewest first."""
        standing = [item for item in self._members.items() if item[1].stage is _Stage.STANDING]
        for num_running in range(CALLS_IN_FLIGHT):
            for actor, member in standing:
                if len(member.running) == num_running and not self._runs_suspect(member):
                    group = self._take(alone=num_running == 0)
                    if group:
                        member.running.append(group)
                        yield actor, group

    def _take(self, alone: bool) -> Group:
        if alone and self._suspects:
            return (self._suspects.popleft(),)
        return tuple(self._waiting.popleft() for _ in range(min(self._group_size, len(self._waiting))))

    def _runs_suspect(self, member: _Member) -> bool:
        return any(plan.index in self._suspected for group in member.running for plan in group)

    def add_starting(self, actor: int) -> None:
        """An actor was asked for. Ray may place it at once, or when a node appears."""
        self._members[actor] = _Member()

    def set_standing(self, actor: int) -> None:
        """The actor's engine stands."""
        if self._members[actor].stage is _Stage.STARTING:
            self._members[actor].stage = _Stage.STANDING

    def set_draining(self, actor: int) -> None:
        """The actor was told to go: it gets nothing new, and another takes its place."""
        self._members[actor].stage = _Stage.DRAINING

    def remove(self, actor: int) -> None:
        """The actor was ended as surplus."""
        assert not self._members[actor].running, "it has work"
        del self._members[actor]

    def finish(self, actor: int, group: Group) -> None:
        """The shards of a call are committed."""
        self._members[actor].running.remove(group)
        self._members[actor].has_finished = True
        self._failed_starts, self._start_again_s, self._store_errors = 0, 0.0, 0

    def fail(self, actor: int, group: Group, error: Exception) -> None:
        """A call raised.

        Raises:
            SpecError: what another try would meet again.
            StoreError: the second in a row, without a commit in between: the store is away for all.
        """
        member = self._members[actor]
        member.running.remove(group)
        self.num_failures += 1
        if isinstance(error, SpecError):
            raise error
        if member.stage is _Stage.DRAINING:
            self._put_back([group])
            return
        is_certain = _is_certain(member.stage, [group, *member.running])
        member.stage = _Stage.BROKEN
        if isinstance(error, StoreError):
            self._store_errors += 1
            if self._store_errors > 1:
                raise error
            self._put_back([group])
        elif is_certain:
            self._blame(group[0], error)
        else:
            self._suspect([group], error)

    def lose(self, actor: int, loss: Loss, error: Exception, now_s: float) -> None:
        """The actor is gone, with what it was running.

        Raises:
                ThresherError: no engine stands, and as many starts in a row failed as are borne.
        """
        member = self._members.pop(actor)
        if member.stage is _Stage.DRAINING:
            self._put_back(member.running)
            return
        self.num_failures += 1
        if loss is Loss.PREEMPTED:
            logger.warning("An actor is gone, %s; its shards go back without blame.", loss.value)
            self._put_back(member.running)
        elif not member.running:
            if not member.has_finished:
                self._count_failed_start(error, now_s)
        elif _is_certain(member.stage, member.running):
            self._blame(member.running[0][0], error)
        else:
            self._suspect(member.running, error)

    def _count_failed_start(self, error: Exception, now_s: float) -> None:
        self._failed_starts += 1
        is_hopeless = self._failed_starts >= self._options.max_failed_starts or isinstance(error, SpecError)
        if is_hopeless and not self.num_standing:
            if isinstance(error, ThresherError):
                raise error
            raise ActorStartError(
                f"{self._failed_starts} actors in a row ended before their engine stood, the last with: {error} "
                "No shard is to blame. Mend the cause (memory, model folder, resources of `actors`) and run the "
                "same spec again."
            ) from error
        delay_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (self._failed_starts - 1))
        self._start_again_s = now_s + delay_s
        logger.warning("An actor ended before its engine stood (%d in a row): %s", self._failed_starts, error)

    def _blame(self, plan: ShardPlan, error: Exception) -> None:
        count = self._failures[plan.index] = self._failures.get(plan.index, 0) + 1
        if count >= self._options.max_attempts:
            self.poison.append(PoisonRange(plan, count, f"{type(error).__name__}: {error}"))
            logger.warning("Set aside: %s", self.poison[-1])
            return
        logger.warning("Shard %d failed, try %d: %s. Another actor takes it.", plan.index, count, error)
        self._suspected.add(plan.index)
        self._suspects.append(plan)

    def _suspect(self, groups: list[Group], error: Exception) -> None:
        plans = [plan for group in groups for plan in group]
        names = ", ".join(str(plan.index) for plan in plans)
        logger.warning("Shards %s: one of them may have failed (%s). Each runs alone now.", names, error)
        self._suspected.update(plan.index for plan in plans)
        self._suspects.extend(plans)

    def _put_back(self, groups: list[Group]) -> None:
        for plan in (plan for group in groups for plan in group):
            (self._suspects if plan.index in self._suspected else self._waiting).appendleft(plan)


def _is_certain(stage: _Stage, running: list[Group]) -> bool:
    """Whether the one shard that ran must have been the cause."""
    return stage is _Stage.STANDING and len(running) == 1 and len(running[0]) == 1
