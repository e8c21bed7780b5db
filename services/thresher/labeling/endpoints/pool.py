"""The servers of an endpoint, asked in the order in which requests came."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass

from thresher.labeling.endpoints.replica import Replica
from thresher.labeling.endpoints.spec import EndpointSpec


@dataclass(frozen=True)
class _Waiter:
    chosen: asyncio.Future[Replica]
    avoid: Replica | None


class ReplicaPool:
    """Gives each request a server: of those that may be asked, the one with the fewest requests for its weight.

    Requests go out first come, first served, so that those a feature's scorer made together reach the server
    together, where they share its prefix cache. One that is repeated goes first, to another server if there is one.
    """

    def __init__(self, spec: EndpointSpec) -> None:
        self._max_in_flight, self._max_retries = spec.concurrency, spec.max_retries
        self.replicas = [Replica(spec, server) for server in spec.servers]
        self._waiting: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_hopeless(self) -> bool:
        """Every server was tried again as often as a request is, without an answer."""
        return all(replica.breaker.num_trips > self._max_retries for replica in self.replicas)

    def others_in(self, replica: Replica) -> bool:
        """Whether another server answers, as far as is known."""
        return any(other is not replica and other.breaker.state == "closed" for other in self.replicas)

    async def acquire(self, failed: Replica | None = None) -> Replica:
        """Wait for a server and take a slot of it; `failed` is the one that a repeated request comes from."""
        waiter = _Waiter(asyncio.get_running_loop().create_future(), failed)
        if failed is None:
            self._waiting.append(waiter)
        else:
            self._waiting.appendleft(waiter)
        self._dispatch()
        try:
            return await waiter.chosen
        except asyncio.CancelledError:
            if waiter.chosen.done() and not waiter.chosen.cancelled():
                self.release(waiter.chosen.result())
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise

    def release(self, replica: Replica) -> None:
        replica.breaker.abandon()  # of no effect if the attempt taught something
        replica.release()
        self._dispatch()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for replica in self.replicas:
            await replica.close()

    def _dispatch(self) -> None:
        while self._waiting and self._num_in_flight() < self._max_in_flight:
            replica = self._choose(self._waiting[0].avoid)
            if replica is None:
                break
            waiter = self._waiting.popleft()
            if not waiter.chosen.done():
                replica.take()
                waiter.chosen.set_result(replica)
        self._wake_later()

    def _num_in_flight(self) -> int:
        return sum(replica.num_in_flight for replica in self.replicas)

    def _choose(self, avoid: Replica | None) -> Replica | None:
        now_s = time.monotonic()
        avoided = avoid if avoid is not None and self.others_in(avoid) else None
        free = [
            replica
            for replica in self.replicas
            if replica is not avoided and (at_s := replica.available_at_s()) is not None and at_s <= now_s
        ]
        return min(
            free, key=lambda replica: (replica.num_in_flight + 1) / replica.server.weight, default=None
        )

    def _wake_later(self) -> None:
        """Look again when the first server that keeps quiet may be asked."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now_s = time.monotonic()
        times = [at_s for replica in self.replicas if (at_s := replica.available_at_s()) is not None]
        later = [at_s for at_s in times if at_s > now_s]
        if self._waiting and later:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(min(later) - now_s, self._dispatch)
