"""Activations: texts with the firing tokens marked.

Source: Bills et al., Language models can explain neurons in language models (OpenAI, 2023), section "Explain";
marking as in Paulo et al. (2024), section 3.2.
"""

from thresher.contracts.exemplars import ExemplarKind
from thresher.labeling.exemplars.contexts import choose_kinds
from thresher.labeling.exemplars.evidence import Evidence
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.explainers.spec import ActivationsSpec
from thresher.labeling.shown_text import marked_lines, strongest_tokens
from thresher.labeling.templates import load_template


class ActivationsWriter:
    """Shows a feature's strongest exemplars of the explain split, and others spread over the strata of activation.

    The question holds no worked examples: a small model answers with one of theirs.
    """

    template = load_template("explain-activations-v1")

    def __init__(self, spec: ActivationsSpec, seed: int) -> None:
        self._spec, self._seed, self.method = spec, seed, spec.method

    def shown(self, evidence: Evidence) -> list[Exemplar]:
        strongest = evidence.of("explain", ["top"])[: self._spec.num_exemplars]
        strongest += evidence.of("explain", ["quantile"])
        counts: list[tuple[ExemplarKind, int]] = [
            ("top", self._spec.num_exemplars),
            ("quantile", self._spec.num_quantile),
        ]
        return choose_kinds(strongest, counts, num_tokens=self._spec.tokens_per_exemplar, seed=self._seed)

    def question(self, evidence: Evidence) -> str | None:
        shown = self.shown(evidence)
        if not shown:
            return None
        return self.template.fill(exemplars=marked_lines(shown), tokens=", ".join(strongest_tokens(shown)))
