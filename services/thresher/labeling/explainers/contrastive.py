"""Contrastive: what have texts in which the feature fires that similar texts lack, in which it does not.

Strongest exemplars alone say what a feature may be; hard negatives say what it is not. Of the peers, HypotheSAEs shows
texts that do not fire beside those that do (Movva et al., Sparse Autoencoders for Hypothesis Generation, 2025, section
3.2), and Delphi has it as an option; neither takes texts in which one would expect the feature.
"""

from thresher.contracts.exemplars import HARD_NEGATIVE_KINDS, ExemplarKind
from thresher.labeling.exemplars.contexts import choose_kinds
from thresher.labeling.exemplars.evidence import Evidence
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.explainers.spec import ContrastiveSpec
from thresher.labeling.shown_text import marked_lines, plain, strongest_tokens
from thresher.labeling.templates import load_template


class ContrastiveWriter:
    """Shows firing exemplars, then silent ones, all of the explain split and of distinct documents."""

    template = load_template("explain-contrastive-v1")

    def __init__(self, spec: ContrastiveSpec, seed: int) -> None:
        self._spec, self._seed, self.method = spec, seed, spec.method

    def shown(self, evidence: Evidence) -> list[Exemplar]:
        firing, silent = self._sides(evidence)
        return [*firing, *silent]

    def question(self, evidence: Evidence) -> str | None:
        firing, silent = self._sides(evidence)
        if not firing or not silent:
            return None
        return self.template.fill(
            firing=marked_lines(firing),
            tokens=", ".join(strongest_tokens(firing)),
            silent="\n".join(plain(item.text) for item in silent),
        )

    def _sides(self, evidence: Evidence) -> tuple[list[Exemplar], list[Exemplar]]:
        spec, kinds = self._spec, HARD_NEGATIVE_KINDS
        shares = [
            spec.num_silent // len(kinds) + (index < spec.num_silent % len(kinds)) for index in range(3)
        ]
        counts: list[tuple[ExemplarKind, int]] = [
            ("top", spec.num_firing),
            *zip(kinds, shares, strict=True),
            ("negative", spec.num_silent),
        ]
        # Ranks of a strongest exemplar go up from 0: the first ones are shown, not a spread over all.
        firing = evidence.of("explain", ["top"])[: spec.num_firing]
        candidates = firing + evidence.of("explain", [*kinds, "negative"])
        chosen = choose_kinds(candidates, counts, num_tokens=spec.tokens_per_exemplar, seed=self._seed)
        silent = [item for item in chosen if item.kind != "top"]
        return [item for item in chosen if item.kind == "top"], silent[: spec.num_silent]
