"""Quality of an imported dictionary on the held-out rows of a harvest."""

from contextlib import ExitStack
from pathlib import Path

from thresher.activations.dense_reader import DenseSite
from thresher.activations.row_source import AlignedRows, SiteColumns
from thresher.activations.split_rows import SplitRows
from thresher.contracts.manifests import HarvestManifest, ReconstructionMetrics
from thresher.dictionary.evaluation import evaluate
from thresher.dictionary.formats.foreign import ForeignDictionary
from thresher.dictionary.formats.placement import widths_of_sites
from thresher.dictionary.formats.spec import ImportDictionarySpec
from thresher.storage import ObjectStore


def measure(
    store: ObjectStore, harvest: HarvestManifest, found: ForeignDictionary, spec: ImportDictionarySpec
) -> ReconstructionMetrics:
    """Metrics over all rows of the held-out split.

    Raises:
        SpecError: the harvest has no such rows.
        IntegrityError: a shard is damaged.
    """
    rows = SplitRows(harvest, spec.holdout_split, None)
    inputs, outputs = (dict(sites) for sites in widths_of_sites(found))
    with ExitStack() as stack:
        columns = {
            name: SiteColumns(
                stack.enter_context(DenseSite(store, harvest, name, Path(spec.cache_dir))), rows
            )
            for name in {**inputs, **outputs}
        }
        source = AlignedRows(
            [columns[name] for name in inputs],
            None if inputs == outputs else [columns[name] for name in outputs],
        )
        return evaluate(found.encoder, source, inputs if found.kind == "crosscoder" else {})
