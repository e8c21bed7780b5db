"""Quality of an imported dictionary on the held-out rows of a harvest.

Shape suffixes: B rows, D width of the input, E width of the output.
"""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from thresher.activations.dense_reader import DenseSite
from thresher.activations.split_rows import IndexArray, SplitRows
from thresher.contracts.manifests import HarvestManifest, ReconstructionMetrics
from thresher.dictionary.formats.foreign import ForeignDictionary
from thresher.dictionary.formats.placement import sites_of
from thresher.dictionary.formats.spec import ImportDictionarySpec
from thresher.latents.reconstruction import ReconstructionAccumulator
from thresher.storage import ObjectStore

BATCH_ROWS = 4096


def measure(
    store: ObjectStore, harvest: HarvestManifest, found: ForeignDictionary, spec: ImportDictionarySpec
) -> ReconstructionMetrics:
    """Metrics over all rows of the held-out split.

    Raises:
        SpecError: the harvest has no such rows.
        IntegrityError: a shard is damaged.
    """
    rows = SplitRows(harvest, spec.holdout_split, None)
    inputs, outputs = sites_of(found)
    accumulator = ReconstructionAccumulator(found.encoder.d_out, found.encoder.num_latents)
    with ExitStack() as stack:
        sites = {
            name: stack.enter_context(DenseSite(store, harvest, name, Path(spec.cache_dir)))
            for name in {*inputs, *outputs}
        }
        for start in range(0, len(rows), BATCH_ROWS):
            rows_B = rows.to_harvest_rows(np.arange(start, min(start + BATCH_ROWS, len(rows))))
            x_BD, y_BE = _gather(sites, inputs, rows_B), _gather(sites, outputs, rows_B)
            codes = found.encoder.encode(x_BD)
            accumulator.add(y_BE, found.encoder.decode(codes, x_BD), codes)
    return accumulator.metrics()


def _gather(sites: dict[str, DenseSite], names: list[str], rows_B: IndexArray) -> torch.Tensor:
    return torch.cat([sites[name].gather(rows_B) for name in names], dim=1)
