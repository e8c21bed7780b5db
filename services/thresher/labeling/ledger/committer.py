"""Answers that arrive close together become durable together."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from thresher.contracts.errors import StoreError
from thresher.labeling.ledger.rows import Row

logger = logging.getLogger(__name__)

COMMIT_WINDOW_S = 0.02


class Committer:
    """Writes what is pending, one batch after another; what arrives during a write waits for the next.

    An answer is lost to a kill only between its arrival and the end of its batch's write: at most the window and two
    writes, since the batch before may be under way. `longest_s` is the longest such time so far.
    """

    def __init__(self, write: Callable[[Sequence[Row]], None]) -> None:
        self._write = write
        self._pending: list[tuple[Row, asyncio.Future[None], float]] = []
        self._task: asyncio.Task[None] | None = None
        self.longest_s = 0.0

    async def commit(self, row: Row) -> None:
        """Returns once the row is durable.

        Raises:
            StoreError: the store refused; the row is lost.
        """
        durable = asyncio.get_running_loop().create_future()
        self._pending.append((row, durable, time.monotonic()))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        await durable

    async def close(self) -> None:
        """Wait until nothing is pending."""
        if self._task is not None:
            await self._task
        if self.longest_s > 0:
            logger.info("The longest time from an answer to its durable commit was %.2f s.", self.longest_s)

    async def _run(self) -> None:
        while self._pending:
            await asyncio.sleep(COMMIT_WINDOW_S)
            batch, self._pending = self._pending, []
            failure: StoreError | None = None
            try:
                await asyncio.to_thread(self._write, [row for row, _, _ in batch])
            except StoreError as error:
                failure = error
            self.longest_s = max(self.longest_s, time.monotonic() - batch[0][2])
            for _, durable, _ in batch:
                if durable.done():  # its asker was cancelled
                    continue
                if failure is None:
                    durable.set_result(None)
                else:
                    durable.set_exception(failure)
