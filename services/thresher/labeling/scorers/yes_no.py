"""Reading a yes or a no off the most likely first tokens."""

import math
from collections.abc import Mapping

YES, NO = "yes", "no"


def yes_share(logprob_by_text: Mapping[str, float]) -> float | None:
    """Probability of yes among yes and no, whatever their case and spacing; None if neither is there."""
    probability = {YES: 0.0, NO: 0.0}
    for text, logprob in logprob_by_text.items():
        word = text.strip().lower()
        if word in probability:
            probability[word] += math.exp(logprob)
    total = probability[YES] + probability[NO]
    return probability[YES] / total if total > 0 else None
