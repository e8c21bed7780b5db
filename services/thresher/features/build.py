"""From a sparse harvest to the features artifact: statistics and exemplars of every latent."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import thresher
from thresher.activations.codes_reader import CodesReader, open_codes
from thresher.contracts import paths
from thresher.contracts.errors import AlreadyExistsError, SpecError
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import (
    DictionaryRef,
    FeaturesManifest,
    FileEntry,
    HarvestManifest,
    SplitRange,
)
from thresher.features.exemplars import EXEMPLAR_SPLITS
from thresher.features.passes import Shown, Survey, survey
from thresher.features.spec import FeaturesSpec
from thresher.features.tables import exemplar_table, stats_table, top_tokens_of
from thresher.features.token_strings import open_token_strings
from thresher.features.windows import WindowGrid
from thresher.runtime.progress import progress
from thresher.storage import ObjectExistsError, ObjectStore, open_store
from thresher.storage.artifacts import check_sizes, find_record, publish_manifest, put_file, record_bytes

FEATURES_PER_PART = 1024
ROWS_PER_GROUP = 4096
NUM_PASSES = 2


def build_features(spec: FeaturesSpec) -> FeaturesManifest:
    """Compute the features artifact of a dictionary over a corpus, or find it computed.

    Reads the harvest twice: once for statistics and the choice of exemplars, once for what they show.

    Raises:
        MissingArtifactError: there is no such harvest.
        SpecError: the harvest is dense or lacks a split, the windows do not fit, or the tokenizer is another.
        AlreadyExistsError: features of this dictionary over this corpus exist, made from another spec.
        IntegrityError: the harvest is corrupt, or its splits share a document.
    """
    store = open_store(spec.root)
    reader = open_codes(store, spec.harvest)
    harvest, dictionary = reader.manifest, _dictionary(reader.manifest)
    splits = _exemplar_splits(harvest)
    assert harvest.model is not None, "sparse harvests are made by an engine"
    assert harvest.corpus_id is not None
    grid = WindowGrid(harvest.sequence_length, spec.min_position, spec.context_tokens)
    token_strings = open_token_strings(spec.tokenizer, harvest.model.tokenizer_sha256)
    # The harvest's id covers the model, tokenizer, corpus and dictionary.
    features_id = content_id("features", {"spec": spec.identity(), "code_version": thresher.__version__})
    artifact = paths.features(dictionary.name, dictionary.version, harvest.corpus_id)
    made = find_record(store, paths.manifest(artifact), FeaturesManifest)
    if made is not None:
        return _same_or_refuse(store, artifact, made, features_id)
    _claim(store, artifact, spec)
    found, shown = _read(reader, spec, grid, splits)
    strings = token_strings.table(shown.windows.shown_token_ids())
    exemplars = [
        _put_table(store, f"{artifact}/exemplars/part-{index:06d}.parquet", table)
        for index, table in enumerate(_exemplar_tables(found, shown, strings, grid))
    ]
    stats = _put_table(store, f"{artifact}/stats.parquet", _stats(found, shown, strings, grid, spec))
    check_sizes(store, [stats, *exemplars])
    manifest = FeaturesManifest(
        features_id=features_id,
        spec=spec.identity(),
        dictionary=dictionary,
        corpus_id=harvest.corpus_id,
        harvest_id=harvest.harvest_id,
        site=reader.site,
        num_latents=reader.num_latents,
        num_rows={item.split: _num_rows(item, grid) for item in harvest.splits},
        stats=stats,
        exemplars=exemplars,
        code_version=thresher.__version__,
    )
    return publish_manifest(store, artifact, manifest)


def _dictionary(harvest: HarvestManifest) -> DictionaryRef:
    assert harvest.dictionary is not None, "a sparse harvest names its dictionary"
    return harvest.dictionary


def _exemplar_splits(harvest: HarvestManifest) -> list[SplitRange]:
    by_name = {item.split: item for item in harvest.splits}
    missing = [name for name in EXEMPLAR_SPLITS if name not in by_name]
    if missing:
        raise SpecError(
            "harvest",
            harvest.harvest_id,
            mend=f"It lacks the split {missing[0]}. Harvest explain, to make labels, and report, to score.",
        )
    return [by_name[name] for name in EXEMPLAR_SPLITS]


def _num_rows(split: SplitRange, grid: WindowGrid) -> int:
    return (split.stop - split.start) * (grid.sequence_length - grid.min_position)


def _same_or_refuse(
    store: ObjectStore, artifact: str, made: FeaturesManifest, features_id: str
) -> FeaturesManifest:
    if made.features_id != features_id:
        raise _taken(store, artifact, f"features {made.features_id} were made there")
    return made


def _claim(store: ObjectStore, artifact: str, spec: FeaturesSpec) -> None:
    """Save the spec as the sign that its build owns the artifact's keys; a resumed build finds its own."""
    try:
        store.put(paths.spec(artifact), record_bytes(spec), if_absent=True)
    except ObjectExistsError as error:
        owner = FeaturesSpec.model_validate_json(store.get(paths.spec(artifact)))
        if owner.identity() != spec.identity():
            raise _taken(store, artifact, "a build that has not finished owns the place") from error


def _taken(store: ObjectStore, artifact: str, why: str) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"{store.url}/{artifact}: {why}, from another spec. Delete everything under it, use that spec, "
        "or take another corpus or dictionary version."
    )


def _read(
    reader: CodesReader, spec: FeaturesSpec, grid: WindowGrid, splits: list[SplitRange]
) -> tuple[Survey, Shown]:
    with progress("features", NUM_PASSES * reader.manifest.num_rows, "rows") as meter:
        found = survey(reader, spec, grid, splits, meter)
        shown = Shown(found, spec, grid)
        shown.read(reader, meter)
    return found, shown


def _exemplar_tables(
    found: Survey, shown: Shown, strings: pa.StringArray, grid: WindowGrid
) -> Iterator[pa.Table]:
    """Exemplars of a range of features at a time, sorted by (feature, split, kind, rank)."""
    num_latents = found.statistics.num_latents
    for first in range(0, num_latents, FEATURES_PER_PART):
        features = range(first, min(first + FEATURES_PER_PART, num_latents))
        start, stop = np.searchsorted(found.active["feature"], [features.start, features.stop])
        negatives = shown.negatives(features)
        exemplars = np.concatenate([found.active[start:stop], negatives])
        silent_EC = np.zeros((len(negatives), grid.length), np.float32)
        activations_EC = np.concatenate([shown.activations.dense(int(start), int(stop)), silent_EC])
        order = np.lexsort([exemplars[field] for field in ("rank", "kind", "split", "feature")])
        yield exemplar_table(exemplars[order], activations_EC[order], shown.windows, strings, grid)


def _stats(
    found: Survey, shown: Shown, strings: pa.StringArray, grid: WindowGrid, spec: FeaturesSpec
) -> pa.Table:
    num_documents = [choice.num_documents for choice in found.choices.values()]
    top_tokens = top_tokens_of(found.active, shown.windows, strings, grid, found.statistics.num_latents)
    return stats_table(found.statistics, num_documents, top_tokens, spec.too_rare_below)


def _put_table(store: ObjectStore, key: str, table: pa.Table) -> FileEntry:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=ROWS_PER_GROUP)
    return put_file(store, key, sink.getvalue().to_pybytes())
