"""The Ray actor around an engine, and the pool's end of it. Thin: what is harvested is the engine's doing."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import ray
from pydantic import BaseModel, ConfigDict
from ray.exceptions import RayActorError, RayTaskError

from thresher.contracts import paths
from thresher.contracts.manifests import ShardCommit
from thresher.harvest.placement import place_actor
from thresher.harvest.plan import ShardPlan
from thresher.harvest.scheduler import CALLS_IN_FLIGHT, Loss
from thresher.harvest.spec import HarvestSpec
from thresher.runtime.ray_cluster import connect
from thresher.storage import open_store
from thresher.storage.artifacts import find_record

NODE_LOST = "its node has died"
"""Ray says so in the error's text alone."""


class Engine(Protocol):
    """What an actor needs of HarvestEngine. `harvest` may be called from several threads."""

    @property
    def wait_s(self) -> float:
        """How long it stood still because the store was slower."""

    def harvest(self, plans: Sequence[ShardPlan]) -> list[ShardCommit]: ...


BuildEngine = Callable[[HarvestSpec, int], Engine]
"""From a spec and a sequence length."""


class CallResult(BaseModel):
    """What a call of an actor brought; crosses to the coordinator as JSON text."""

    model_config = ConfigDict(frozen=True)

    commits: list[ShardCommit]
    found: list[int]
    """Shards that another coordinator had committed meanwhile."""
    engine_wait_s: float
    """Of the engine since it stands."""


class RunningActor(Protocol):
    """An actor as the pool sees it. Every call returns at once."""

    def start(self) -> Future[None]:
        """Done when the engine stands."""

    def harvest(self, plans: list[ShardPlan]) -> Future[CallResult]:
        """Done when the shards are committed."""

    def told_to_go(self) -> Future[None]:
        """Done when the actor's process was sent SIGTERM."""

    def end(self) -> None:
        """End the process, whatever it does."""


StartActor = Callable[[HarvestSpec, int], RunningActor]
"""From a spec and a sequence length. The actor waits until Ray finds room for it."""


def build_vllm_engine(spec: HarvestSpec, sequence_length: int) -> Engine:
    """The engine of a real harvest; imported where it is built, since it brings torch and vLLM."""
    from thresher.harvest.engine import HarvestEngine

    return HarvestEngine(spec, sequence_length)


class HarvestActor:
    """Holds one engine for its life.

    Ray runs calls in threads and the constructor in the main thread, the one that may set signal handlers.
    SIGTERM, the warning before a spot node is taken, does not end the process at once: the pool is told, gives it
    nothing new and ends it when what it has begun is committed; after `drain_s` it ends itself.
    """

    def __init__(self, spec_json: str, sequence_length: int, build_engine: BuildEngine) -> None:
        self._spec = HarvestSpec.model_validate_json(spec_json)
        self._sequence_length, self._build_engine = sequence_length, build_engine
        self._engine: Engine | None = None
        self._told_to_go = threading.Event()
        signal.signal(signal.SIGTERM, self._drain)

    def _drain(self, *_: object) -> None:
        if not self._told_to_go.is_set():
            self._told_to_go.set()
            deadline = threading.Timer(self._spec.actors.drain_s, os._exit, [0])
            deadline.daemon = True
            deadline.start()

    def start(self) -> None:
        self._store = open_store(self._spec.root)
        self._engine = self._build_engine(self._spec, self._sequence_length)

    def told_to_go(self) -> None:
        self._told_to_go.wait()

    def harvest(self, plans_json: list[str]) -> str:
        """Plans and the answer, a CallResult, as JSON text."""
        assert self._engine is not None, "start comes first"
        commits: list[ShardCommit] = []
        left: list[ShardPlan] = []
        for plan in map(ShardPlan.model_validate_json, plans_json):
            key = paths.shard_commit(plan.artifact, plan.index)
            found = find_record(self._store, key, ShardCommit)
            if found is None:
                left.append(plan)
            else:
                commits.append(found)
        found_before = [commit.index for commit in commits]
        if left:
            commits += self._engine.harvest(left)
        result = CallResult(commits=commits, found=found_before, engine_wait_s=self._engine.wait_s)
        return result.model_dump_json()


class RayHarvestActor:
    """The `RunningActor` of a HarvestActor that Ray holds."""

    def __init__(self, spec: HarvestSpec, sequence_length: int, build_engine: BuildEngine) -> None:
        connect()
        self._placement = place_actor(spec)
        remote = ray.remote(
            max_restarts=0,
            max_concurrency=CALLS_IN_FLIGHT + 2,  # start and told_to_go besides
            **self._placement.options,
        )(HarvestActor)
        self._handle: Any = remote.remote(spec.model_dump_json(), sequence_length, build_engine)

    def start(self) -> Future[None]:
        future: Future[None] = self._handle.start.remote().future()
        return future

    def told_to_go(self) -> Future[None]:
        future: Future[None] = self._handle.told_to_go.remote().future()
        return future

    def harvest(self, plans: list[ShardPlan]) -> Future[CallResult]:
        reference = self._handle.harvest.remote([plan.model_dump_json() for plan in plans])
        answer: Future[CallResult] = Future()
        reference.future().add_done_callback(lambda done: _pass_on(done, answer))
        return answer

    def end(self) -> None:
        ray.kill(self._handle)
        self._placement.release()


def _pass_on(done: Future[str], answer: Future[CallResult]) -> None:
    error = done.exception()
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(CallResult.model_validate_json(done.result()))


def start_actor(spec: HarvestSpec, sequence_length: int) -> RunningActor:
    """Ask Ray for an actor around a vLLM engine."""
    return RayHarvestActor(spec, sequence_length, build_vllm_engine)


def loss_of(error: BaseException) -> Loss | None:
    """Why an actor is gone, or None if it is there and its call raised."""
    if not isinstance(error, RayActorError):
        return None
    # Unavailable means that its node does not answer; whether the call ran is unknown, and the commit tells.
    is_preempted = (
        error.preempted or NODE_LOST in str(error) or type(error).__name__ == "ActorUnavailableError"
    )
    return Loss.PREEMPTED if is_preempted else Loss.CRASHED


def cause_of(error: BaseException) -> Exception:
    """What the actor's code raised, where Ray wraps it."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return cause if isinstance(cause, Exception) else RuntimeError(str(error))
