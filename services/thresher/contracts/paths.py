"""Where every artifact lies under a root (DESIGN: contracts in object storage). Keys, never URLs."""


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


def release(name: str, version: str) -> str:
    return f"releases/{name}/{version}"


def event(event_id: str) -> str:
    """One thing that happened to a published label, such as a retraction."""
    return f"events/{event_id}.json"


def manifest(artifact: str) -> str:
    """The object whose existence makes the artifact whole."""
    return f"{artifact}/manifest.json"


def spec(artifact: str) -> str:
    """The resolved spec, saved beside the output."""
    return f"{artifact}/spec.json"


def sequences_file(artifact: str, index: int) -> str:
    return f"{artifact}/sequences-{index:06d}.parquet"


def site_shard(artifact: str, site: str, index: int) -> str:
    return f"{artifact}/{site}/shard-{index:06d}.arrow"


def rows_shard(artifact: str, index: int) -> str:
    return f"{artifact}/rows/shard-{index:06d}.parquet"


def shard_commit(artifact: str, index: int) -> str:
    return f"{artifact}/commits/shard-{index:06d}.json"
