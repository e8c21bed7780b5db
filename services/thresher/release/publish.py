"""Publishing: everything of a pull is in the store, named with its size and sha256, before the release is."""

import io
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from thresher import __version__
from thresher.catalog.stored_tables import read_stored_table
from thresher.contracts import paths, schemas
from thresher.contracts.ids import content_id, sha256_hex
from thresher.contracts.manifests import FileEntry, ReleaseFile, ReleaseGroup, ReleaseManifest
from thresher.release.card import render_card
from thresher.release.sources import Sources, dictionary_config, read_sources
from thresher.release.spec import PublishSpec
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import check_sizes, find_record, publish_manifest, put_file
from thresher.storage.versions import claim_version

CLAIM_KEY = "claim.json"


def publish(spec: PublishSpec) -> ReleaseManifest:
    """Publish a dictionary with its features and labels; what is published already is returned as it is.

    Files that are in the store already are named where they are, not copied.

    Raises:
        MissingArtifactError: the dictionary, features or labels are not in the store.
        SpecError: they do not belong together.
        IntegrityError: one of their files is missing or damaged.
        AlreadyExistsError: the version holds something else; names the next free one.
    """
    store = open_store(spec.root)
    sources = read_sources(store, spec)
    lineage = sources.lineage()
    release_id = content_id("release", {"name": spec.name, **lineage, "code_version": __version__})
    version = claim_version(store, partial(paths.release, spec.name), CLAIM_KEY, release_id, spec.version)
    artifact = paths.release(spec.name, version)
    published = find_record(store, paths.manifest(artifact), ReleaseManifest)
    if published is not None:
        return published
    files = _stored_files(store, sources)
    check_sizes(store, files)
    files += _made_files(store, sources, artifact, f"{spec.name}@{version}")
    store.put(paths.spec(artifact), (spec.model_dump_json(indent=1, exclude={"root"}) + "\n").encode())
    manifest = ReleaseManifest(
        name=spec.name,
        version=version,
        release_id=release_id,
        files=sorted(files, key=lambda file: file.path),
        lineage=lineage,
        code_version=__version__,
    )
    return publish_manifest(store, artifact, manifest)


def _stored_files(store: ObjectStore, sources: Sources) -> list[ReleaseFile]:
    """Files of the pull that are there unchanged."""
    weights, features = sources.dictionary.weights(), sources.features
    exemplars = [
        _file(f"exemplars/part-{index:06d}.parquet", "exemplars", entry)
        for index, entry in enumerate(features.exemplars)
    ]
    output = features.output_tokens
    output_tokens = [] if output is None else [_file("output_tokens.parquet", "features", output)]
    manifests = [
        _file(f"lineage/{what}.json", "about", _describe(store, paths.manifest(artifact)))
        for what, artifact in sources.artifacts().items()
    ]
    return [
        _file("cfg.json", "dictionary", sources.dictionary_file("cfg.json")),
        _file("sae_weights.safetensors", "dictionary", weights),
        _file("features.parquet", "features", features.stats),
        *output_tokens,
        *exemplars,
        *manifests,
    ]


def _made_files(store: ObjectStore, sources: Sources, artifact: str, title: str) -> list[ReleaseFile]:
    """Files of the pull that are written for it."""
    labels, scores = sources.labels.labels, sources.labels.scores
    card = render_card(title, dictionary_config(store, sources), sources)
    return [
        _file(
            "labels.parquet", "labels", _merge(store, labels, schemas.LABELS, f"{artifact}/labels.parquet")
        ),
        _file(
            "scores.parquet", "labels", _merge(store, scores, schemas.SCORES, f"{artifact}/scores.parquet")
        ),
        _file("README.md", "about", put_file(store, f"{artifact}/README.md", card.encode())),
    ]


def _merge(store: ObjectStore, parts: list[FileEntry], schema: pa.Schema, key: str) -> FileEntry:
    """One file of all parts, by feature."""
    tables = [read_stored_table(store, entry, schema) for entry in parts]
    merged = pa.concat_tables(tables or [schema.empty_table()])
    order = [("feature", "ascending"), (schema.names[0], "ascending")]
    buffer = io.BytesIO()
    pq.write_table(merged.sort_by(order), buffer, compression="zstd")
    return put_file(store, key, buffer.getvalue())


def _describe(store: ObjectStore, key: str) -> FileEntry:
    data = store.get(key)
    return FileEntry(key=key, size=len(data), sha256=sha256_hex(data))


def _file(path: str, group: ReleaseGroup, entry: FileEntry) -> ReleaseFile:
    return ReleaseFile(path=path, group=group, key=entry.key, size=entry.size, sha256=entry.sha256)
