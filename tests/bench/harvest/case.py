"""What every side is given, and what it answers."""

import contextlib
import json
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LENGTH = 256
SERVER_GROUP = "BENCH_SERVER_GROUP"
"""Environment variable: the S3 server's process group, whose CPU time is counted beside a side's own."""
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
    """Seconds of the timed part: of the clock, of this process's cores, and of the S3 server's."""

    def __enter__(self) -> "Stopwatch":
        self._server_s, self._cpu_s = _server_cpu_s(), time.process_time()
        self._start_s = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.elapsed_s = time.perf_counter() - self._start_s
        self.cpu_s = time.process_time() - self._cpu_s
        self.server_cpu_s = _server_cpu_s() - self._server_s


def _server_cpu_s() -> float:
    """CPU seconds of the S3 server's process group since it started."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[2] == os.environ[SERVER_GROUP]:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def answer(case: Case, watch: Stopwatch, **more: Any) -> None:
    """Print the result as the last line of stdout."""
    figures = {
        "tokens_per_s": case.sequences * LENGTH / watch.elapsed_s,
        "elapsed_s": watch.elapsed_s,
        "cpu_s": watch.cpu_s,
        "server_cpu_s": watch.server_cpu_s,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print("\n" + json.dumps(figures | more))


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
