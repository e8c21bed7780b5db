"""The same bytes from the same mapped files, one after another, copied into a buffer of 4,096 rows and not decoded."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from reader.case import BATCH_ROWS, SITE, Case, answer
from thresher.contracts import paths
from thresher.contracts.manifests import HarvestManifest
from thresher.storage import open_store
from thresher.storage.artifacts import read_record


def _columns(case: Case) -> list[list[np.ndarray]]:
    store = open_store(case.root)
    manifest = read_record(store, paths.manifest(paths.harvest(case.harvest)), HarvestManifest)
    found = []
    for shard in manifest.shards:
        reader = pa.ipc.open_file(pa.memory_map(str(store.local_path(shard.sites[SITE].key))))
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            found.append(
                [column.flatten().to_numpy().reshape(batch.num_rows, -1) for column in batch.columns]
            )
    return found


def _copy(columns: list[np.ndarray], buffers: list[np.ndarray]) -> int:
    for column, buffer in zip(columns, buffers, strict=True):
        for start in range(0, len(column), BATCH_ROWS):
            part = column[start : start + BATCH_ROWS]
            np.copyto(buffer[: len(part)], part)
    return len(columns[0])


def main(case: Case) -> None:
    batches = _columns(case)
    pool = ThreadPoolExecutor(case.num_threads)

    def read(part: list[list[np.ndarray]]) -> int:
        buffers = [np.empty((BATCH_ROWS, column.shape[1]), column.dtype) for column in batches[0]]
        return sum(_copy(columns, buffers) for columns in part)

    def one_pass() -> Iterator[int]:
        cut = -(-len(batches) // case.num_threads)
        yield from pool.map(read, [batches[start : start + cut] for start in range(0, len(batches), cut)])

    answer(case, one_pass)


if __name__ == "__main__":
    main(Case.from_arguments())
