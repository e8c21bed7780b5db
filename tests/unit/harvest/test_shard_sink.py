"""From encoded rows to files in a store, on the sink's thread: order, selection, faults, memory."""

import threading
import time

import numpy as np
import pyarrow as pa
import pytest
import torch

from thresher.activations.row_encoding import DenseEncoding
from thresher.contracts import schemas
from thresher.contracts.errors import StoreError
from thresher.contracts.manifests import EngineProvenance
from thresher.harvest.assembler import CoverageError
from thresher.harvest.commit import commit_shard
from thresher.harvest.plan import ShardPart, ShardPlan
from thresher.harvest.shard_sink import SequenceRows, ShardSink, StepRows
from thresher.storage import open_store

LENGTH, WIDTH = 8, 3
SITES = ["resid_post.0", "mlp_out.1"]
PROVENANCE = EngineProvenance(
    engine="test", engine_version="0", model_runner="V1", dtype="float32", torch_version="0"
)
TIMEOUT_S = 10.0


def _plan(index: int, count: int = 4) -> ShardPlan:
    return ShardPlan(
        artifact="activations/h",
        index=index,
        first_sequence=index * count,
        num_sequences=count,
        sequence_length=LENGTH,
    )


def _addresses(plan: ShardPlan) -> pa.Table:
    sequence = np.repeat(np.arange(plan.first_sequence, plan.first_sequence + plan.num_sequences), LENGTH)
    position = np.tile(np.arange(LENGTH), plan.num_sequences)
    return pa.table(
        {
            "doc_id": pa.array([f"doc-{s}" for s in sequence]).dictionary_encode(),
            "sequence": sequence.astype(np.int32),
            "position": position.astype(np.int32),
            "token_id": (sequence * LENGTH + position).astype(np.int32),
        },
        schema=schemas.ROWS,
    )


def _value(site: int, sequence: int, position: int) -> float:
    return float(site * 1000 + sequence * LENGTH + position)


def _step(*parts: tuple[int, int, int], encoding: DenseEncoding, broken: bool = False) -> StepRows:
    """Parts as (sequence, start, count)."""
    sequences, count = [], 0
    for sequence, start, length in parts:
        sequences.append(SequenceRows(sequence, start, length, count, count + length))
        count += length
    sites = {}
    for number, site in enumerate(SITES):
        values = [_value(number, s, p) for s, start, n in parts for p in range(start, start + n)]
        x_ND = torch.tensor(values)[:, None].expand(-1, WIDTH).clone()
        if broken:
            x_ND[-1, 0] = float("inf")
        sites[site] = encoding.encode(x_ND)
    return StepRows(sites, sequences)


@pytest.fixture
def encoding():
    return DenseEncoding("float16", WIDTH)


@pytest.fixture
def sink_on(encoding):
    sinks = []

    def make(store, ring_bytes=1 << 20) -> ShardSink:
        sinks.append(
            ShardSink(store, SITES, dict.fromkeys(SITES, encoding), ring_bytes, writes_addresses=True)
        )
        return sinks[-1]

    yield make
    for sink in sinks:
        sink.abort()


def _collect(sink: ShardSink, count: int) -> list[ShardPart]:
    parts: list[ShardPart] = []
    deadline_s = time.monotonic() + TIMEOUT_S
    while len(parts) < count:
        assert time.monotonic() < deadline_s, "the sink gave no part"
        parts += sink.collect()
        time.sleep(0.005)
    return parts


def test_two_shards_at_once_in_the_engines_order_come_out_in_the_shards_order(sink_on, encoding, store):
    sink, plans = sink_on(store), [_plan(0), _plan(1)]
    for plan in plans:
        sink.open(plan, _addresses(plan))
    steps = [((5, 0, 8), (0, 0, 5)), ((4, 0, 8), (0, 5, 3), (3, 0, 8)), ((2, 0, 8), (1, 0, 8), (7, 0, 2))]
    for parts in steps:
        sink.put(_step(*parts, encoding=encoding))
    sink.close(plans[0])
    sink.put(_step((7, 2, 6), (6, 0, 8), encoding=encoding))
    sink.close(plans[1])
    found = {part.index: part for part in _collect(sink, 2)}
    for plan in plans:
        commit = commit_shard(store, plan, [found[plan.index]], SITES, PROVENANCE)
        assert commit.num_rows == 4 * LENGTH
        for number, site in enumerate(SITES):
            entry = commit.sites[site]
            assert entry.sha256[:16] in entry.key
            table = pa.ipc.open_file(pa.BufferReader(store.get(entry.key))).read_all()
            values = pa.concat_arrays([chunk.flatten() for chunk in table["x"].chunks]).to_numpy()
            expected = [
                _value(number, s, p)
                for s in range(plan.first_sequence, plan.first_sequence + 4)
                for p in range(LENGTH)
            ]
            assert values.reshape(-1, WIDTH)[:, 0].tolist() == expected


def test_a_row_that_is_not_finite_stops_the_engine_with_its_address(sink_on, encoding, tmp_path):
    store = open_store(f"file://{tmp_path}")
    sink, plan = sink_on(store), _plan(0, count=1)
    sink.open(plan, _addresses(plan))
    sink.put(_step((0, 0, 8), encoding=DenseEncoding("bfloat16", WIDTH), broken=True))
    with pytest.raises(CoverageError, match="sequence 0, position 7"):
        _collect(sink, 1)
    with pytest.raises(CoverageError):
        sink.put(_step((0, 0, 8), encoding=encoding))


def test_a_shard_that_is_not_whole_is_not_finished(sink_on, encoding, tmp_path):
    store = open_store(f"file://{tmp_path}")
    sink, plan = sink_on(store), _plan(0, count=2)
    sink.open(plan, _addresses(plan))
    sink.put(_step((0, 0, 8), (1, 0, 7), encoding=encoding))
    sink.close(plan)
    with pytest.raises(CoverageError, match="not whole"):
        _collect(sink, 1)
    assert list(store.list("activations/")) == []


def test_what_is_aborted_leaves_nothing(sink_on, encoding, store):
    sink, plan = sink_on(store), _plan(0, count=2)
    sink.open(plan, _addresses(plan))
    sink.put(_step((0, 0, 8), encoding=encoding))
    sink.abort()
    assert list(store.list("activations/")) == []


class SlowStore:
    """Takes every file late, and counts them."""

    def __init__(self, store, delay_s: float) -> None:
        self._store, self._delay_s = store, delay_s
        self.num_files = 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    def open_hashed(self, stem, suffix):
        time.sleep(self._delay_s)
        self.num_files += 1
        return self._store.open_hashed(stem, suffix)


def test_a_slow_store_slows_the_engine_which_never_runs_further_ahead_than_the_ring(sink_on, tmp_path):
    encoding = DenseEncoding("float16", WIDTH)
    store = SlowStore(open_store(f"file://{tmp_path}"), delay_s=0.01)
    step_bytes = _step(*((sequence, 0, 8) for sequence in range(4)), encoding=encoding).num_bytes
    sink = sink_on(store, ring_bytes=4 * step_bytes)
    ahead, parts = [], []
    for index in range(30):
        plan = _plan(index)
        sink.open(plan, _addresses(plan))
        sequences = range(plan.first_sequence, plan.first_sequence + 4)
        sink.put(_step(*((sequence, 0, 8) for sequence in sequences), encoding=encoding))
        sink.close(plan)
        parts += sink.collect()
        ahead.append(index + 1 - store.num_files // len(SITES))
    assert max(ahead) <= 5, "four steps in the ring and one being written"
    assert sink.wait_s > 0.25, "the engine's side stood still meanwhile"
    assert len(parts) + len(_collect(sink, 30 - len(parts))) == 30


class RefusingStore(SlowStore):
    def open_hashed(self, stem, suffix):
        raise StoreError("file:///full: the disk is full.")


def test_what_the_store_refuses_reaches_the_engine(sink_on, encoding, tmp_path):
    sink, plan = sink_on(RefusingStore(open_store(f"file://{tmp_path}"), 0)), _plan(0, count=1)
    sink.open(plan, _addresses(plan))
    sink.put(_step((0, 0, 8), encoding=encoding))
    with pytest.raises(StoreError, match="disk is full"):
        _collect(sink, 1)


class HeldStore(SlowStore):
    """Lets no file of the first shard appear until it is told to; then refuses it, if it is to."""

    def __init__(self, store, refuses: bool = False) -> None:
        super().__init__(store, 0)
        self.go_on, self._refuses = threading.Event(), refuses

    def open_hashed(self, stem, suffix):
        writer = super().open_hashed(stem, suffix)
        if "shard-000000" not in stem:
            return writer
        finish = writer.__exit__

        def held(kind, error, trace):
            if kind is None:
                assert self.go_on.wait(TIMEOUT_S)
                if self._refuses:
                    finish(StoreError, StoreError("refused"), None)
                    raise StoreError("file:///full: the disk is full.")
            finish(kind, error, trace)

        return Delegate(writer, held)


class Delegate:
    """A writer whose block ends otherwise."""

    def __init__(self, writer, end) -> None:
        self._writer, self._end = writer, end

    def __getattr__(self, name):
        return getattr(self._writer, name)

    def __enter__(self):
        self._writer.__enter__()
        return self

    def __exit__(self, kind, error, trace):
        self._end(kind, error, trace)


def _put_two(sink, encoding):
    for plan in (_plan(0, count=1), _plan(1, count=1)):
        sink.open(plan, _addresses(plan))
        sink.put(_step((plan.first_sequence, 0, 8), encoding=encoding))
        sink.close(plan)


def test_a_shard_is_written_while_the_files_of_the_one_before_go_up(sink_on, encoding, tmp_path):
    store = HeldStore(open_store(f"file://{tmp_path}"))
    sink = sink_on(store)
    _put_two(sink, encoding)
    assert [part.index for part in _collect(sink, 1)] == [1]
    store.go_on.set()
    assert [part.index for part in _collect(sink, 1)] == [0]


def test_last_bytes_that_the_store_refuses_reach_the_engine_and_leave_nothing_half(
    sink_on, encoding, tmp_path
):
    store = HeldStore(open_store(f"file://{tmp_path}"), refuses=True)
    sink = sink_on(store)
    _put_two(sink, encoding)
    _collect(sink, 1)
    store.go_on.set()
    with pytest.raises(StoreError, match="disk is full"):
        _collect(sink, 1)
    sink.abort()
    assert not [info.key for info in store.list("activations/") if "shard-000000" in info.key]
    assert not list((tmp_path / ".tmp").glob("*"))
