"""What every side is given, and what it answers. Standard library alone: the peer runs it in its own environment."""

import json
import resource
import sys
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LATENTS_FILE = "latents.json"


@dataclass(frozen=True)
class Case:
    """One run of one side."""

    side: str
    name: str
    folder: str
    base_url: str
    model: str
    concurrency: int
    seed: int
    is_scripted: bool
    """The server counts its clients."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the side's own."""

    @classmethod
    def from_arguments(cls) -> "Case":
        return cls(**json.loads(sys.argv[1]))

    def to_argument(self) -> str:
        return json.dumps(asdict(self))

    def latents(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((Path(self.folder) / LATENTS_FILE).read_text())
        return found

    def _ask(self, path: str, data: bytes | None) -> dict[str, Any]:
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + path, data) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found


class Meter:
    """Wall and CPU time of a part of this process, and what the server saw meanwhile."""

    def __init__(self, case: Case) -> None:
        self._case, self.measured = case, dict[str, Any]()

    def __enter__(self) -> "Meter":
        if self._case.is_scripted:
            self._case._ask("/reset", b"{}")
        self._start_s, self._start_cpu_s = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.measured = {
            "wall_s": time.perf_counter() - self._start_s,
            "client_cpu_s": time.process_time() - self._start_cpu_s,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        if self._case.is_scripted:
            self.measured["server"] = self._case._ask("/stats", None)


def say(result: dict[str, Any]) -> None:
    """The result, as the last line of stdout."""
    print("\n" + json.dumps(result))
