"""What every side is given, and what it answers."""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

WIDTH, SEQUENCE_LENGTH, BATCH_ROWS = 576, 256, 4096
SITE = "resid_post.1"


@dataclass(frozen=True)
class Case:
    """One run of one side."""

    side: str
    root: str
    harvest: str
    encoding: str
    num_threads: int = 1
    seed: int = 0
    passes: int = 3
    """Times over the rows that are timed; the best counts. One before warms pages up and compiles."""
    in_order: bool = False
    """Ours alone: rows as they are stored instead of shuffled, which tells what the random order costs."""
    cached_path: str = ""
    """For SAELens: its own cached activations of the same rows."""

    @classmethod
    def from_arguments(cls) -> "Case":
        return cls(**json.loads(sys.argv[1]))

    def to_argument(self) -> str:
        return json.dumps(asdict(self))


def answer(case: Case, one_pass: Callable[[], Iterator[int]]) -> None:
    """Time passes of a generator that yields the number of rows of each batch; print the result as the last line."""
    sum(one_pass())
    rates = []
    for _ in range(case.passes):
        start_s = time.perf_counter()
        num_rows = sum(one_pass())
        rates.append(num_rows / (time.perf_counter() - start_s))
    result: dict[str, Any] = {"rows_per_s": max(rates), "rates": rates, "num_rows": num_rows}
    result["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("\n" + json.dumps(result))
