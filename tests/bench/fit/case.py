"""What every side is given, and what it answers. Needs numpy and torch alone: peers run it in their own environment.

Shape suffixes: B rows, D width, F latents.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

BATCH_ROWS = 4096
D_IN = 576
K = 32
WARM_UP_STEPS = 3
AUX_COEFFICIENT = 1 / 32
TRAIN_FILE, HELD_OUT_FILE = "train.npy", "held_out.npy"


@dataclass(frozen=True)
class Case:
    """One run of one side."""

    side: str
    architecture: str
    num_latents: int
    num_steps: int
    seed: int
    threads: int
    folder: str

    @classmethod
    def from_arguments(cls) -> "Case":
        return cls(**json.loads(sys.argv[1]))

    def to_argument(self) -> str:
        return json.dumps(asdict(self))

    @property
    def learning_rate(self) -> float:
        """Of Adam, without warmup or decay, on every side: the rate that most of them default to (Gao et al. 2024)."""
        return 2e-4 / (self.num_latents / (1 << 14)) ** 0.5

    def batches(self) -> list[torch.Tensor]:
        """x_BD of every step, the same on every side."""
        rows = np.load(Path(self.folder) / TRAIN_FILE, mmap_mode="r")
        starts = [step * BATCH_ROWS % (len(rows) - BATCH_ROWS + 1) for step in range(self.num_steps)]
        return [torch.from_numpy(rows[start : start + BATCH_ROWS].copy()) for start in starts]

    def held_out(self) -> torch.Tensor:
        return torch.from_numpy(np.load(Path(self.folder) / HELD_OUT_FILE))


Codes = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""x_BD to its reconstruction and the number of active latents of each row."""


def measure(case: Case, step: Callable[[torch.Tensor], object], reconstruct: Callable[[], Codes]) -> None:
    """Train, then print rates, peak memory and quality on held-out rows as the last line of stdout.

    Args:
        case: the run.
        step: a whole optimiser step on x_BD.
        reconstruct: called once after training, for the function of the trained dictionary at inference.
    """
    batches, seconds = case.batches(), []
    before_mib = _peak_mib()
    for x_BD in batches:
        start_s = time.perf_counter()
        step(x_BD)
        seconds.append(time.perf_counter() - start_s)
    peak_mib = _peak_mib()
    fvu, l0 = quality(case.held_out(), reconstruct())
    typical_s = median(seconds[WARM_UP_STEPS:])
    print("\n" + json.dumps({
        "rows_per_s": BATCH_ROWS / typical_s,
        "step_s": typical_s,
        "first_step_s": seconds[0],
        "last_steps_s": median(seconds[-max(1, len(seconds) // 4):]),
        "peak_mib": peak_mib,
        "training_mib": peak_mib - before_mib,
        "fvu": fvu,
        "l0": l0,
    }))  # fmt: skip


@torch.no_grad()
def quality(x_BD: torch.Tensor, codes: Codes) -> tuple[float, float]:
    """Fraction of variance unexplained and mean L0 of held-out rows."""
    error, num_active = 0.0, 0
    for piece_BD in x_BD.split(BATCH_ROWS):
        x_hat_BD, active_B = codes(piece_BD)
        error += float((piece_BD.double() - x_hat_BD.double()).square().sum())
        num_active += int(active_B.sum())
    variance = float((x_BD.double() - x_BD.double().mean(dim=0)).square().sum())
    return error / variance, num_active / len(x_BD)


def dense_codes(
    encode: Callable[[torch.Tensor], torch.Tensor], decode: Callable[[torch.Tensor], torch.Tensor]
) -> Codes:
    """From a peer's own dense functions of inference."""

    def codes(x_BD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        acts_BF = encode(x_BD)
        acts_BF = acts_BF.to_dense() if acts_BF.is_sparse else acts_BF
        return decode(acts_BF), (acts_BF != 0).sum(dim=1)

    return codes


def _peak_mib() -> float:
    """Of this program alone: getrusage counts what its parent had before it, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024
