"""Which texts exemplify a feature: the splits they are dealt to and the kinds there are."""

from typing import Literal

ExemplarSplit = Literal["explain", "calibrate", "select", "report"]
EXEMPLAR_SPLITS: tuple[ExemplarSplit, ...] = ("explain", "calibrate", "select", "report")
"""Disjoint by document: to write labels, to calibrate simulators, to choose between labels, to report scores."""

ExemplarKind = Literal["top", "quantile", "random", "negative", "cofiring", "decoder_near", "text_near"]
EXEMPLAR_KINDS: tuple[ExemplarKind, ...] = (
    "top",
    "quantile",
    "random",
    "negative",
    "cofiring",
    "decoder_near",
    "text_near",
)
FIRING_KINDS: tuple[ExemplarKind, ...] = ("top", "quantile", "random")
HARD_NEGATIVE_KINDS: tuple[ExemplarKind, ...] = ("cofiring", "decoder_near", "text_near")
"""The feature is silent, where one would expect it: its co-firing neighbours fire, latents with a near decoder fire,
or the text is near to a firing one's."""
SILENT_KINDS: tuple[ExemplarKind, ...] = ("negative", *HARD_NEGATIVE_KINDS)

OutputTokenKind = Literal["promoted", "suppressed", "steered_up", "steered_down"]
OUTPUT_TOKEN_KINDS: tuple[OutputTokenKind, ...] = ("promoted", "suppressed", "steered_up", "steered_down")
"""Tokens with the largest and smallest product of decoder and unembedding, and those whose probability changes most
when the feature is added to the residual stream."""
