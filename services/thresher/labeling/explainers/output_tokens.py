"""Output-centric: what the feature does to the model's next token.

VocabProj shows the tokens with the largest and smallest product of the feature's vector and the unembedding,
TokenChange those whose probability changes most when the feature is strengthened.
Source: Gur-Arieh et al., Enhancing Automated Interpretability with Output-Centric Feature Descriptions (2025), section
3.
"""

from thresher.contracts.exemplars import OutputTokenKind
from thresher.labeling.exemplars.evidence import Evidence
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.explainers.spec import OutputTokensSpec
from thresher.labeling.shown_text import listed
from thresher.labeling.templates import load_template

TEMPLATES = {
    "vocab_proj": load_template("explain-vocab-proj-v2"),
    "token_change": load_template("explain-token-change-v2"),
}
KINDS: dict[str, tuple[OutputTokenKind, OutputTokenKind]] = {
    "vocab_proj": ("promoted", "suppressed"),
    "token_change": ("steered_up", "steered_down"),
}
"""What goes up and what goes down, by method."""
NOTHING = "none"


class OutputTokensWriter:
    """Shows tokens and no exemplar.

    What goes up is shown last: a small model otherwise repeats what goes down.
    """

    def __init__(self, spec: OutputTokensSpec) -> None:
        self._spec, self.method, self.template = spec, spec.method, TEMPLATES[spec.method]

    def shown(self, evidence: Evidence) -> list[Exemplar]:
        return []

    def question(self, evidence: Evidence) -> str | None:
        up, down = (self._listed(evidence, kind) for kind in KINDS[self.method])
        return self.template.fill(promoted=up, suppressed=down or NOTHING) if up else None

    def _listed(self, evidence: Evidence, kind: OutputTokenKind) -> str:
        tokens = evidence.output_tokens.get(kind, ())[: self._spec.num_tokens]
        return listed(item.token for item in tokens)
