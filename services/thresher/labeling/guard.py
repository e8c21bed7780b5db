"""A run that may be told to stop from outside: its answers stay, and running it again goes on."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from thresher.contracts.errors import ThresherError

ResultT = TypeVar("ResultT")


class RunStoppedError(ThresherError):
    """The run was told to stop. What was answered is stored."""


class RunGuard:
    """Tells a run to stop, and is asked before it publishes.

    Args:
        confirm: raises if the run may not publish; called right before it does.
    """

    def __init__(self, confirm: Callable[[], None] = lambda: None) -> None:
        self._confirm = confirm
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._cancel: Callable[[], object] | None = None

    @property
    def reason(self) -> str | None:
        """Why it was told to stop; None if it was not."""
        return self._reason

    def stop(self, reason: str) -> None:
        """End the run, from any thread."""
        with self._lock:
            self._reason = self._reason or reason
            if self._cancel is not None:
                self._cancel()

    def check(self) -> None:
        """Whether the run may go on and publish.

        Raises:
            RunStoppedError: it was told to stop; or whatever `confirm` raises.
        """
        if self._reason is not None:
            raise RunStoppedError(self._reason)
        self._confirm()

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """asyncio.run, until it is told to stop.

        Raises:
            RunStoppedError: it was.
        """
        return asyncio.run(self._until_stopped(work))

    async def _until_stopped(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
        with self._lock:
            self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
            if self._reason is not None:
                task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            if self._reason is None:
                raise
            raise RunStoppedError(self._reason) from None
        finally:
            with self._lock:
                self._cancel = None
