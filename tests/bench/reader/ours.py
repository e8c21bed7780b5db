"""thresher's loader: float32 batches, in a random order over the whole harvest or as rows are stored."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from reader.case import BATCH_ROWS, SITE, Case, answer
from thresher.activations.dense_reader import DenseSite
from thresher.activations.loader import BatchLoader, BatchPlan
from thresher.activations.row_source import AlignedRows, SiteColumns
from thresher.activations.shuffle import EndlessOrder, StoredOrder
from thresher.activations.split_rows import SplitRows
from thresher.contracts import paths
from thresher.contracts.manifests import HarvestManifest
from thresher.storage import open_store
from thresher.storage.artifacts import read_record


def main(case: Case) -> None:
    store = open_store(case.root)
    manifest = read_record(store, paths.manifest(paths.harvest(case.harvest)), HarvestManifest)
    with DenseSite(store, manifest, SITE, Path("/nonexistent")) as site:
        source = AlignedRows([SiteColumns(site, SplitRows(manifest, "fit", 0))])
        order = StoredOrder(len(source)) if case.in_order else EndlessOrder(len(source), case.seed)
        plan = BatchPlan(order, BATCH_ROWS)
        num_steps = len(source) // BATCH_ROWS
        epochs = itertools.count()

        def one_pass() -> Iterator[int]:
            first = next(epochs) * num_steps
            depth = 1 + case.num_threads
            with BatchLoader(
                source, plan, first, first + num_steps, depth=depth, num_threads=case.num_threads
            ) as loader:
                for _, pairs in loader:
                    yield len(pairs.x_BD)

        answer(case, one_pass)


if __name__ == "__main__":
    main(Case.from_arguments())
