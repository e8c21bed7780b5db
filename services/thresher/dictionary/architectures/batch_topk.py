"""The objective of BatchTopK (Bussmann et al. 2024): the largest k codes a row, on average over the global batch.

Its threshold of inference is calibrated after training (threshold.py).
"""

from thresher.dictionary.architectures.largest_codes import LargestCodesObjective
from thresher.dictionary.architectures.objective import Problem
from thresher.dictionary.architectures.spec import BatchTopKSpec
from thresher.dictionary.training.batch_selection import BatchTopKSelector
from thresher.latents.kernels import Preactivations, SparseCodes


class BatchTopKObjective(LargestCodesObjective):
    """Rows share k codes each; some take more than others."""

    def __init__(self, spec: BatchTopKSpec, problem: Problem) -> None:
        super().__init__(spec, problem)
        self._selector = BatchTopKSelector(spec.k)

    def choose(self, z: Preactivations) -> SparseCodes:
        return self._selector.select(z, self.problem.batch_rows)
