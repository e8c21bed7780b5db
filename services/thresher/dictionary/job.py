"""One worker's part in a fit."""

from dataclasses import dataclass

import torch

from thresher.contracts import paths
from thresher.dictionary.spec import FitSpec

CPU = torch.device("cpu")


@dataclass(frozen=True)
class FitJob:
    """What to fit, as whom, and where."""

    spec: FitSpec
    version: str
    fit_id: str
    rank: int = 0
    world_size: int = 1
    device: torch.device = CPU

    @property
    def artifact(self) -> str:
        return paths.dictionary(self.spec.name, self.version)
