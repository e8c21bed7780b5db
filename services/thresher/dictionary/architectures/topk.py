"""The objective of TopK (Gao et al. 2024, section 2.3): the largest k codes of each row, if they are positive."""

from thresher.dictionary.architectures.largest_codes import LargestCodesObjective
from thresher.dictionary.architectures.objective import Problem
from thresher.dictionary.architectures.spec import TopKSpec
from thresher.latents.kernels import Preactivations, SparseCodes, select_largest_of_rows


class TopKObjective(LargestCodesObjective):
    """Every row has k codes, or as many as are positive."""

    def __init__(self, spec: TopKSpec, problem: Problem) -> None:
        super().__init__(spec, problem)
        self._k = self.row_k = spec.k

    def choose(self, z: Preactivations) -> SparseCodes:
        return select_largest_of_rows(z, self._k)
