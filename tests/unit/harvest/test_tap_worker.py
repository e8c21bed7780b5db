"""Ranks of an engine, by contract: the worker's mix-in on recorded states of the model runner, without vLLM.

Two tensor-parallel ranks hold the same rows of every step; each writes the shards that are its own.
"""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from thresher.activations.row_selection import RowSelector
from thresher.activations.sequences import open_sequences
from thresher.corpus.build import build_corpus
from thresher.corpus.spec import CorpusSpec
from thresher.harvest.commit import commit_shard
from thresher.harvest.plan import ShardPart, ShardPlan
from thresher.harvest.runner_adapter import RequestRows
from thresher.harvest.selected_rows import SelectedRows, request_id
from thresher.harvest.shard_sink import ShardSink
from thresher.harvest.spec import HarvestSpec
from thresher.harvest.tap_worker import TapWorker
from thresher.storage import open_store

LENGTH, WIDTH, SITE = 8, 4, "resid_post.1"


@pytest.fixture
def sequences(word_model, tmp_path):
    (tmp_path / "text.txt").write_text(" ".join(f"w{i % 100}" for i in range(200)))
    root = f"file://{tmp_path}/root"
    corpus = build_corpus(
        CorpusSpec.parse(
            {
                "root": root,
                "sources": [{"kind": "text_files", "folder": str(tmp_path), "pattern": "text.txt"}],
                "tokenizer": str(word_model),
                "sequence_length": LENGTH,
                "max_tokens": 160,
                "splits": {"fit": 1.0, "explain": 0.0, "report": 0.0},
            }
        )
    )
    return root, open_sequences(open_store(root), corpus.corpus_id)


def _worker(root: str, sequences, rank: int, ranks: int, **more) -> TapWorker:
    """A worker as `load_model` and `thresher_install` leave it."""
    spec = HarvestSpec.parse(
        {"root": root, "corpus": sequences.manifest.corpus_id, "model": "m", "sites": [SITE], **more}
    )
    worker, store = TapWorker(), open_store(root)
    worker.device = SimpleNamespace(type="cpu")
    worker._thresher_spec, worker._thresher_store, worker._thresher_sequences = spec, store, sequences
    worker._thresher_rank, worker._thresher_ranks = rank, ranks
    worker._thresher_rows = SelectedRows(RowSelector(spec.selection, sequences.manifest))
    worker._thresher_encodings, worker._thresher_encoder = {}, None
    worker._thresher_sink = ShardSink(
        store, [SITE], worker._thresher_encodings, 1 << 20, writes_addresses=True
    )
    return worker


def _plans(sequences, count: int, per_shard: int = 3) -> list[ShardPlan]:
    return [
        ShardPlan(
            artifact="activations/h",
            index=index,
            first_sequence=index * per_shard,
            num_sequences=per_shard,
            sequence_length=LENGTH,
        )
        for index in range(count)
    ]


def _steps(plans):
    """Chunked prefill of all sequences, interleaved, with padding: (rows, requests) a step."""
    numbers = [
        n for plan in plans for n in range(plan.first_sequence, plan.first_sequence + plan.num_sequences)
    ]
    for start, count in ((0, 5), (5, 3)):
        requests, values = [], []
        for sequence in reversed(numbers):
            requests.append(RequestRows(request_id(sequence), len(values), count, start))
            values += [sequence * LENGTH + position for position in range(start, start + count)]
        padded = torch.tensor([*values, -1, -1], dtype=torch.float32)
        yield {SITE: padded[:, None].expand(-1, WIDTH)}, requests


def _harvest(workers, plans) -> list[list[ShardPart]]:
    for worker in workers:
        for plan in plans:
            worker.thresher_open_shard(plan.model_dump_json())
    for rows, requests in _steps(plans):
        for worker in workers:
            worker._thresher_keep(rows, requests)
    found = []
    for worker in workers:
        for plan in plans:
            worker.thresher_close_shard(plan.model_dump_json())
        parts: list[ShardPart] = []
        own = sum(plan.index % worker._thresher_ranks == worker._thresher_rank for plan in plans)
        while len(parts) < own:
            parts += [
                ShardPart.model_validate(item) for item in json.loads(worker.thresher_collect())["parts"]
            ]
        worker.thresher_abort()
        found.append(parts)
    return found


def test_tensor_parallel_ranks_write_disjoint_shards_that_cover_all(sequences):
    root, corpus = sequences
    plans = _plans(corpus, 4)
    by_rank = _harvest([_worker(root, corpus, rank, 2) for rank in range(2)], plans)
    assert [sorted(part.index for part in parts) for parts in by_rank] == [[0, 2], [1, 3]]
    store = open_store(root)
    for part in (part for parts in by_rank for part in parts):
        provenance = {"engine": "t", "engine_version": "0", "model_runner": "V2", "dtype": "float32"}
        from thresher.contracts.manifests import EngineProvenance

        commit = commit_shard(
            store, plans[part.index], [part], [SITE], EngineProvenance(**provenance, torch_version="0")
        )
        table = pa.ipc.open_file(pa.BufferReader(store.get(commit.sites[SITE].key))).read_all()
        stored = pa.concat_arrays([chunk.flatten() for chunk in table["x"].chunks]).to_numpy()
        first = plans[part.index].first_sequence * LENGTH
        expected = np.arange(first, first + 3 * LENGTH, dtype=np.float32)
        got = (stored.astype(np.uint32) << 16).view(np.float32).reshape(-1, WIDTH)[:, 0]
        np.testing.assert_array_equal(got, expected)


def test_selected_rows_alone_are_stored_with_their_addresses(sequences):
    root, corpus = sequences
    plans = _plans(corpus, 2)
    worker = _worker(root, corpus, 0, 1, selection={"min_position": 2, "fraction": 0.5, "seed": 3})
    [parts] = _harvest([worker], plans)
    store = open_store(root)
    import io

    import pyarrow.parquet as pq

    for part in parts:
        rows = pq.read_table(io.BytesIO(store.get(part.rows.key)))
        assert 0 < rows.num_rows == part.num_rows < 3 * (LENGTH - 2)
        table = pa.ipc.open_file(pa.BufferReader(store.get(part.sites[SITE].key))).read_all()
        stored = pa.concat_arrays([chunk.flatten() for chunk in table["x"].chunks]).to_numpy()
        got = (stored.astype(np.uint32) << 16).view(np.float32).reshape(-1, WIDTH)[:, 0]
        sequence, position = (rows[name].to_numpy() for name in ("sequence", "position"))
        assert position.min() >= 2
        np.testing.assert_array_equal(got, sequence * LENGTH + position)


def test_a_sample_sets_the_centre_and_stores_nothing(sequences):
    root, corpus = sequences
    worker = _worker(root, corpus, 0, 1, encoding="int8", centre=True)
    worker.thresher_begin_sample()
    plans = _plans(corpus, 1)
    for rows, requests in _steps(plans):
        worker._thresher_keep(rows, requests)
    worker.thresher_end_sample()
    schema = worker._thresher_encodings[SITE].schema
    mean = np.frombuffer(schema.metadata[b"centre"], "<f4")
    np.testing.assert_allclose(mean, np.arange(3 * LENGTH).mean(), rtol=1e-6)
    assert json.loads(worker.thresher_collect())["parts"] == []
    worker.thresher_abort()
