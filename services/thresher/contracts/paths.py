"""Where every artifact lies under a root (DESIGN: contracts in object storage). Keys, never URLs."""

import hashlib
import re


def corpus(corpus_id: str) -> str:
    return f"corpora/{corpus_id}"


def harvest(harvest_id: str) -> str:
    return f"activations/{harvest_id}"


def dictionary(name: str, version: str) -> str:
    return f"dictionaries/{name}/{version}"


def features(name: str, version: str, corpus_id: str) -> str:
    return f"features/{name}/{version}/{corpus_id}"


def label_run(name: str, version: str, run_id: str) -> str:
    return f"labels/{name}/{version}/{run_id}"


def responses(model: str, revision_key: str) -> str:
    """Shelf of the answers of one revision of a model, shared by all label runs of the root."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", model).strip("._")[:64]
    return f"responses/{readable}-{hashlib.sha256(model.encode()).hexdigest()[:8]}/{revision_key}"


def export(format_name: str, name: str, version: str) -> str:
    """Folder of a dictionary in another tool's format."""
    return f"exports/{format_name}/{name}/{version}"


def evaluation(name: str, version: str, evaluation_id: str) -> str:
    return f"evaluations/{name}/{version}/{evaluation_id}"


def sweep(sweep_id: str) -> str:
    return f"sweeps/{sweep_id}"


def release(name: str, version: str) -> str:
    return f"releases/{name}/{version}"


def families(name: str, version: str, families_id: str) -> str:
    """Links between labels of a dictionary, and the families that they make."""
    return f"families/{name}/{version}/{families_id}"


def nightly(night_id: str) -> str:
    """The report of one night of labelling."""
    return f"nightlies/{night_id}"


def fence(name: str) -> str:
    """Folder of the log by which one holder at a time commits."""
    return f"fences/{name}"


def event(event_id: str) -> str:
    """One thing that happened: a retraction of a published label, a night of labelling."""
    return f"events/{event_id}.json"


def qualification(qualification_id: str) -> str:
    """Whether a scorer can tell true labels from false ones."""
    return f"qualifications/{qualification_id}.json"


def manifest(artifact: str) -> str:
    """The object whose existence makes the artifact whole."""
    return f"{artifact}/manifest.json"


def spec(artifact: str) -> str:
    """The resolved spec, saved beside the output."""
    return f"{artifact}/spec.json"


def sequences_file(artifact: str, index: int) -> str:
    return f"{artifact}/sequences-{index:06d}.parquet"


def site_shard_stem(artifact: str, site: str, index: int) -> str:
    """The hash of the bytes and `.arrow` follow: two writers of other bytes never touch each other's object."""
    return f"{artifact}/{site}/shard-{index:06d}"


def rows_shard_stem(artifact: str, index: int) -> str:
    """The hash of the bytes and `.parquet` follow."""
    return f"{artifact}/rows/shard-{index:06d}"


def shard_commit(artifact: str, index: int) -> str:
    return f"{artifact}/commits/shard-{index:06d}.json"


def harvest_runs(artifact: str) -> str:
    """Folder of the measured figures of each run of a harvest: rates and stalls, no part of the artifact."""
    return f"{artifact}/runs"
