import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.harvests import write_harvest
from thresher.activations.dense_reader import DenseSite
from thresher.activations.loader import BatchLoader, BatchPlan, read_batches, read_pairs
from thresher.activations.read_meter import who_waits
from thresher.activations.recycled_arrays import RecycledArrays
from thresher.activations.row_pairs import RowPairs
from thresher.activations.row_source import AlignedRows, RowSource, SiteColumns
from thresher.activations.shuffle import EndlessOrder, StoredOrder
from thresher.activations.split_rows import SplitRows
from thresher.storage import ObjectStore

SITE = "resid_post.1"
LENGTH, WIDTH = 16, 6


@pytest.fixture
def source(store: ObjectStore, tmp_path: Path) -> Iterator[RowSource]:
    x_ND = np.random.default_rng(0).standard_normal((30 * LENGTH, WIDTH)).astype(np.float32)
    splits = {"fit": 13, "explain": 7, "report": 10}
    manifest = write_harvest(store, {SITE: x_ND}, sequence_length=LENGTH, splits=splits)
    with DenseSite(store, manifest, SITE, tmp_path) as site:
        yield AlignedRows([SiteColumns(site, SplitRows(manifest, "fit", 1))])


@pytest.mark.parametrize("num_threads", [1, 3])
def test_loader_yields_the_planned_batches_from_any_step(source: RowSource, num_threads: int) -> None:
    order = EndlessOrder(len(source), seed=0)
    whole = [BatchPlan(order, 50).gather(source, step).x_BD for step in range(10)]
    for world_size in (1, 2, 3):
        batches = []
        for rank in range(world_size):
            plan = BatchPlan(order, 50, rank, world_size)
            with BatchLoader(source, plan, 4, 10, num_threads=num_threads) as loader:
                batches.append({step: pairs.x_BD for step, pairs in loader})
        for step in range(4, 10):
            joined = torch.cat([batches[rank][step] for rank in range(world_size)])
            assert torch.equal(joined, whole[step])


def test_loader_hands_on_the_failure_of_its_thread(source: RowSource) -> None:
    outside = EndlessOrder(len(source) + 10_000, seed=0)
    with BatchLoader(source, BatchPlan(outside, 50), 0, 3) as loader, pytest.raises(AssertionError):
        list(loader)


def test_loader_reads_ahead_no_further_than_its_depth(
    source: RowSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered: list[int] = []
    original = BatchPlan.gather

    def gather(
        plan: BatchPlan, source: RowSource, step: int, arrays: RecycledArrays | None = None
    ) -> RowPairs:
        gathered.append(step)
        return original(plan, source, step, arrays)

    monkeypatch.setattr(BatchPlan, "gather", gather)
    with BatchLoader(source, BatchPlan(EndlessOrder(len(source), 0), 8), 0, 100, depth=2) as loader:
        iterator = iter(loader)
        for step in range(5):
            next(iterator)
            assert len(gathered) <= step + 1 + 2
    assert len(gathered) < 100


def test_a_batch_that_is_kept_is_not_overwritten(source: RowSource) -> None:
    plan = BatchPlan(EndlessOrder(len(source), 0), 8)
    with BatchLoader(source, plan, 0, 30) as loader:
        kept = [pairs.x_BD[2:5] for _, pairs in loader]
    for step, rows in enumerate(kept):
        assert torch.equal(rows, plan.gather(source, step).x_BD[2:5])


def test_memory_of_batches_is_used_again() -> None:
    arrays = RecycledArrays()
    first = arrays.empty(10, 4)
    tensor = torch.from_numpy(first)[3:]
    address = first.ctypes.data
    del first
    assert arrays.empty(10, 4).ctypes.data != address, "a tensor still refers to it"
    del tensor
    assert address in {array.ctypes.data for array in [arrays.empty(10, 4), arrays.empty(10, 4)]}
    assert arrays.empty(4, 10).shape == (4, 10)


@pytest.mark.parametrize("batch_rows", [1, 64, 195, 500])
def test_a_split_is_read_whole_and_once(source: RowSource, batch_rows: int) -> None:
    whole = BatchPlan(StoredOrder(len(source)), len(source)).gather(source, 0).x_BD
    parts = [
        pairs.x_BD.clone()
        for pairs in read_batches(source, StoredOrder(len(source)), len(source), batch_rows)
    ]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(read_pairs(source, StoredOrder(len(source)), 37).x_BD, whole[:37])


class GatedSource:
    """Gives rows only while its gate is open."""

    input_widths = output_widths = (4,)
    is_reconstruction = True
    row_bytes = 8

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)

    def __len__(self) -> int:
        return 100

    def gather_into(self, pairs: object, numbers_N: np.ndarray, places_N: np.ndarray) -> None:
        self.gate.acquire()

    def expect(self, ranges: object) -> None:
        raise AssertionError("a global order expects nothing")


def test_the_meter_tells_which_side_waits() -> None:
    gated = GatedSource()
    plan = BatchPlan(EndlessOrder(100, 0), 10)
    with BatchLoader(gated, plan, 0, 6, depth=3) as loader:
        iterator = iter(loader)
        threading.Timer(0.3, gated.gate.release).start()
        next(iterator)  # nothing was ready: training waited
        waiting = loader.meter.figures()
        assert waiting.data_wait_share > 0.8
        assert waiting.queue_depth == 0
        assert loader.meter.wait_s > 0.2
        gated.gate.release(5)
        threading.Event().wait(0.5)  # training is busy while batches become ready
        next(iterator)
        busy = loader.meter.figures()
        list(iterator)
    assert busy.data_wait_share < waiting.data_wait_share
    assert busy.queue_depth == 1.5, "of none and of three"
    assert busy.rows_per_s * 8 == pytest.approx(busy.bytes_per_s)


def test_a_line_says_it_in_words() -> None:
    assert who_waits(0.31, 12e6, 0.1).startswith("waits for data (31% waiting, 0.1 batches ready, 12 MB/s")
    assert who_waits(0.01, 12e6, 1.9).startswith("compute-bound (1% waiting")
