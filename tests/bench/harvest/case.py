"""What every side is given, and what it answers."""

import json
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LENGTH = 256
WARM_UP_SEQUENCES = 16
MAX_BATCH_TOKENS = 4096
MAX_BATCH_SEQUENCES = 64
BUCKET_PREFIX = "peers"
SITES = {
    1: ["resid_post.29"],
    3: ["resid_post.9", "resid_post.19", "resid_post.29"],
    12: [f"resid_post.{layer}" for layer in (2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27, 29)],
}
"""By their number; the last layer is always among them, so that nothing may stop early."""


@dataclass(frozen=True)
class Case:
    """One run of one side."""

    side: str
    root: str
    corpus: str
    model: str
    dtype: str
    sites: list[str]
    sequences: int
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_arguments(cls) -> "Case":
        return cls(**json.loads(sys.argv[1]))

    def to_argument(self) -> str:
        return json.dumps(asdict(self))

    def token_ids(self, start: int, stop: int) -> list[list[int]]:
        from thresher.activations.sequences import open_sequences
        from thresher.storage import open_store

        return open_sequences(open_store(self.root), self.corpus).token_ids(start, stop).tolist()

    @property
    def layers(self) -> list[int]:
        return [int(site.partition(".")[2]) for site in self.sites]


class Stopwatch:
    """Seconds of the timed part."""

    def __enter__(self) -> "Stopwatch":
        self._start_s = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.elapsed_s = time.perf_counter() - self._start_s


def answer(case: Case, elapsed_s: float, **more: Any) -> None:
    """Print the result as the last line of stdout."""
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = case.sequences * LENGTH / elapsed_s
    print("\n" + json.dumps({"tokens_per_s": rate, "elapsed_s": elapsed_s, "peak_rss_mib": peak_mib, **more}))


def upload_folder(folder: Path) -> int:
    """Every file of a folder to the S3 server with boto3, as scripts around a harvester do; bytes sent."""
    import boto3

    from thresher.runtime.local.seaweedfs import BUCKET

    client = boto3.client("s3")
    sent = 0
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        client.put_object(Bucket=BUCKET, Key=f"{BUCKET_PREFIX}/{file.name}", Body=file.read_bytes())
        sent += file.stat().st_size
    return sent
