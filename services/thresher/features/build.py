"""From a sparse harvest to the features artifact: statistics and exemplars of every latent."""

from concurrent.futures import Future, ThreadPoolExecutor, wait

import pyarrow as pa
import pyarrow.parquet as pq

import thresher
from thresher.activations.codes_reader import CodesReader, open_codes
from thresher.contracts import paths
from thresher.contracts.errors import AlreadyExistsError
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import (
    DictionaryRef,
    FeaturesManifest,
    FileEntry,
    HarvestManifest,
    SplitRange,
)
from thresher.features.exemplars import ExemplarChooser
from thresher.features.output_tokens import OutputSide
from thresher.features.spec import FeaturesSpec
from thresher.features.splits import exemplar_ranges
from thresher.features.survey import Survey, survey
from thresher.features.tables import exemplar_table, stats_table, top_tokens_of
from thresher.features.token_strings import TokenStrings, open_token_strings
from thresher.features.windows import WindowGrid
from thresher.latents.decoder_cosines import nearest_rows
from thresher.latents.encoder import SparseEncoder
from thresher.latents.site_encoder import encoder_at_site
from thresher.latents.weights import load_encoder
from thresher.runtime.progress import progress
from thresher.storage import ObjectExistsError, ObjectStore, open_store
from thresher.storage.artifacts import check_sizes, find_record, publish_manifest, put_file, record_bytes

FEATURES_PER_PART = 256
ROWS_PER_GROUP = 16384
NUM_PASSES = 2


def build_features(spec: FeaturesSpec) -> FeaturesManifest:
    """Compute the features artifact of a dictionary over a corpus, or find it computed.

    Reads the harvest twice: once for statistics and candidates of exemplars, once for what they show.

    Raises:
        MissingArtifactError: there is no such harvest, or its dictionary is gone.
        SpecError: the harvest is dense or lacks a split, the windows do not fit, or tokenizer or model is another.
        AlreadyExistsError: features of this dictionary over this corpus exist, made from another spec.
        IntegrityError: the harvest is corrupt, or its splits share a document.
    """
    store = open_store(spec.root)
    reader = open_codes(store, spec.harvest)
    harvest, dictionary = reader.manifest, _dictionary(reader.manifest)
    ranges = exemplar_ranges(harvest)
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
    trained, published = load_encoder(store, str(dictionary))
    encoder = encoder_at_site(trained, published, reader.site)
    output = None if spec.output is None else OutputSide(spec.output, spec.model, harvest, published)
    _claim(store, artifact, spec)
    found, chooser = _read(reader, spec, grid, ranges, encoder)
    exemplars, top_tokens = _put_exemplars(store, artifact, chooser, token_strings, reader.num_latents, grid)
    stats = _put_table(store, f"{artifact}/stats.parquet", _stats(found, top_tokens, spec))
    output_tokens = None
    if output is not None:
        contexts_NC = chooser.windows.token_ids(found.splits["explain"].pool)
        table = output.table(encoder.W_dec_FE, found.statistics.max, contexts_NC, token_strings)
        output_tokens = _put_table(store, f"{artifact}/output_tokens.parquet", table)
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
        output_tokens=output_tokens,
        code_version=thresher.__version__,
    )
    return publish_manifest(store, artifact, manifest)


def _dictionary(harvest: HarvestManifest) -> DictionaryRef:
    assert harvest.dictionary is not None, "a sparse harvest names its dictionary"
    return harvest.dictionary


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
    reader: CodesReader,
    spec: FeaturesSpec,
    grid: WindowGrid,
    ranges: list[SplitRange],
    encoder: SparseEncoder,
) -> tuple[Survey, ExemplarChooser]:
    decoder_near_FM = nearest_rows(encoder.W_dec_FE, spec.neighbours).numpy()
    with progress("features", NUM_PASSES * reader.manifest.num_rows, "rows") as meter:
        found = survey(reader, spec, grid, ranges, meter)
        chooser = ExemplarChooser(found, decoder_near_FM, spec, grid)
        chooser.read(reader, meter)
    return found, chooser


def _put_exemplars(
    store: ObjectStore,
    artifact: str,
    chooser: ExemplarChooser,
    token_strings: TokenStrings,
    num_latents: int,
    grid: WindowGrid,
) -> tuple[list[FileEntry], list[list[str]]]:
    """Write the exemplars of a range of features at a time; give back the files and each feature's top tokens."""
    strings = token_strings.table(chooser.windows.shown_token_ids())
    writing, top_tokens = list[Future[FileEntry]](), list[list[str]]()
    with ThreadPoolExecutor(1, thread_name_prefix="exemplars") as thread:
        for index, first in enumerate(range(0, num_latents, FEATURES_PER_PART)):
            features = range(first, min(first + FEATURES_PER_PART, num_latents))
            chosen = chooser.choose(features)
            table = exemplar_table(chosen, chooser.windows, strings, grid)
            top_tokens += top_tokens_of(chosen, features, chooser.windows, strings, grid)
            wait(writing)  # one part is written while the next is chosen
            key = f"{artifact}/exemplars/part-{index:06d}.parquet"
            writing.append(thread.submit(_put_table, store, key, table))
    files = [part.result() for part in writing]
    return files, top_tokens


def _stats(found: Survey, top_tokens: list[list[str]], spec: FeaturesSpec) -> pa.Table:
    """A feature is too rare by explain and report alone: the others may do without it."""
    num_documents = [found.splits[split].num_documents for split in ("explain", "report")]
    return stats_table(found.statistics, num_documents, top_tokens, spec.too_rare_below)


def _put_table(store: ObjectStore, key: str, table: pa.Table) -> FileEntry:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=ROWS_PER_GROUP)
    return put_file(store, key, sink.getvalue().to_pybytes())
