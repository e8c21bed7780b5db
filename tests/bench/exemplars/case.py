"""What every side is given, and what it answers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

NUM_LATENTS, K, SEQUENCE_LENGTH, CONTEXT_TOKENS = 4608, 32, 256, 32
MODULE = "layers.18"


@dataclass(frozen=True)
class Case:
    """One run of one side."""

    side: str
    folder: str
    """Holds `store`, a sparse harvest, and `arrays`, the same codes as .npy files."""
    harvest: str
    tokenizer: str
    out: str
    """An empty folder of the side's own."""

    @classmethod
    def from_arguments(cls) -> Case:
        return cls(**json.loads(sys.argv[1]))

    def to_argument(self) -> str:
        return json.dumps(asdict(self))


class Stages:
    """Seconds of each timed part, by the clock and of all cores; memory before the first and at its highest."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}
        self._before = _status_mib("VmRSS")

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        start_s, cpu_start_s = time.perf_counter(), time.process_time()
        yield
        self.cpu_seconds[name] = time.process_time() - cpu_start_s
        self.seconds[name] = time.perf_counter() - start_s

    def answer(self, **more: int) -> None:
        """Print the result as the last line."""
        memory = {"rss_before_mib": self._before, "peak_rss_mib": _status_mib("VmHWM")}
        times = {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}
        print("\n" + json.dumps(times | memory | more))


def _status_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))
