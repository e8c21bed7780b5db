"""Bounded concurrency over a list of work."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

ITEMS_PER_SLOT = 4
"""In work for each request that may be in flight: some wait for the ledger, and no slot waits for them."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


async def map_bounded(
    function: Callable[[ItemT], Awaitable[ResultT]], items: Sequence[ItemT], limit: int
) -> list[ResultT]:
    """Results in the order of the items, `limit` of them in work at once. The first error ends the rest."""
    results: dict[int, ResultT] = {}
    left = iter(enumerate(items))

    async def work(place: int) -> None:
        for _ in range(place):  # one after another: the first ones' requests go out before all are made
            await asyncio.sleep(0)
        for index, item in left:
            results[index] = await function(item)

    tasks = [asyncio.create_task(work(place)) for place in range(min(limit, len(items)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [results[index] for index in range(len(items))]
