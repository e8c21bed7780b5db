"""The shortcut: a feature that fires on one token, and whenever that is there, needs no model to be described."""

from collections import Counter
from dataclasses import dataclass

from thresher.contracts.exemplars import FIRING_KINDS
from thresher.contracts.ids import canonical_json
from thresher.contracts.states import State
from thresher.labeling.exemplars.evidence import Evidence
from thresher.labeling.explainers.explainer import Candidate, Provenance
from thresher.labeling.explainers.phrase import MAX_CHARACTERS, Phrase
from thresher.labeling.explainers.spec import SingleTokenSpec
from thresher.labeling.shown_text import plain
from thresher.labeling.templates import load_template

TEMPLATE = load_template("label-single-token-v1")
METHOD, NO_MODEL = "token", "none"


@dataclass(frozen=True)
class TokenCounts:
    """Over the explain exemplars, by token in any case and spacing."""

    firing: Counter[str]
    """Positions on which the feature fires."""
    occurring: Counter[str]
    """All positions, those of texts without the feature too."""


class SingleTokenExplainer:
    """Labels by rule. Its labels are scored as any other's."""

    def __init__(self, spec: SingleTokenSpec) -> None:
        self._spec = spec

    @property
    def provenance(self) -> Provenance:
        """No model wrote the label; `decoding` holds the rule's bounds."""
        decoding = canonical_json(self._spec.identity())
        return Provenance(METHOD, NO_MODEL, NO_MODEL, TEMPLATE.sha256, decoding)

    def explain(self, evidence: Evidence) -> Candidate | None:
        """A label, if the feature is one of a single token."""
        counts = count_tokens(evidence)
        num_firing = counts.firing.total()
        if num_firing < self._spec.min_positions:
            return None
        token, num_of_token = counts.firing.most_common(1)[0]
        if num_of_token < self._spec.min_share * num_firing:
            return None
        if num_of_token < self._spec.min_recall * counts.occurring[token]:
            return None
        text = label_of(token)
        if len(text) > MAX_CHARACTERS:
            return None
        shown = tuple(evidence.of("explain", FIRING_KINDS))
        return Candidate(Phrase(State.OK, text), self.provenance, shown)


def count_tokens(evidence: Evidence) -> TokenCounts:
    """Tokens of whitespace alone are kept as they are."""
    counts = TokenCounts(Counter(), Counter())
    for item in evidence.of("explain"):
        for token, activation in zip(item.tokens, item.activations_C, strict=True):
            same = token.strip().casefold() or token
            counts.occurring[same] += 1
            counts.firing[same] += int(activation > 0)
    return counts


def label_of(token: str) -> str:
    """One printable line; a token without anything visible in it is spelled out, as \\n."""
    shown = plain(token)
    printable = shown if shown and shown.isprintable() else token.encode("unicode_escape").decode()
    return TEMPLATE.fill(token=printable)
