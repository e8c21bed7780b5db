"""The next label run of a night: what is worth most, as much of its kind as fits."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from thresher.labeling.nightly.needs import Need
from thresher.labeling.nightly.windows import Remaining

FIRST_BATCH_FEATURES = 16
"""While it is not known how long a feature takes, not more are begun at once."""
Group = tuple[str, str, int]
"""Dictionary, corpus and number of tries: what one label run has in common."""


def group_of(need: Need) -> Group:
    return need.dictionary, need.corpus, need.tries


def by_value(needs: Sequence[Need]) -> list[Need]:
    """The most valuable first; the order of equals is the same every time."""
    return sorted(needs, key=lambda need: (-need.value, need.dictionary, need.corpus, need.feature))


@dataclass
class Pace:
    """How long a feature takes, as measured in this night."""

    num_features: int = 0
    seconds: float = 0.0

    @property
    def seconds_a_feature(self) -> float | None:
        return self.seconds / self.num_features if self.num_features else None

    def add(self, num_features: int, seconds: float) -> None:
        self.num_features += num_features
        self.seconds += seconds


@dataclass
class Queue:
    """Needs in the order of their value. What cannot be done is set aside, with the reason."""

    needs: list[Need]
    set_aside: dict[str, list[Need]] = field(default_factory=dict)
    """By reason."""

    def next_batch(
        self,
        remaining: Remaining,
        pace: Pace,
        tokens_a_feature: Callable[[Sequence[Need]], float],
        batch_size: int,
    ) -> tuple[list[Need], float] | None:
        """Take the next batch off, with the tokens it will need; None if nothing left fits.

        A group that does not fit is set aside: a retry with a dearer explainer may be, where first labels go on.
        """
        while self.needs:
            group = group_of(self.needs[0])
            candidates = [need for need in self.needs if group_of(need) == group][:batch_size]
            tokens = tokens_a_feature(candidates)
            fits = remaining.num_fitting(tokens, pace.seconds_a_feature)
            if fits is not None and fits < 1:
                self.set_group_aside(group, remaining.why_not(tokens))
                continue
            if pace.seconds_a_feature is None and remaining.seconds is not None:
                fits = min(FIRST_BATCH_FEATURES, len(candidates) if fits is None else fits)
            batch = candidates[:fits]
            self._take(batch)
            return batch, tokens * len(batch)
        return None

    def set_group_aside(self, group: Group, reason: str) -> None:
        """Give up a group for this night."""
        taken = [need for need in self.needs if group_of(need) == group]
        self.add_aside(taken, reason)
        self._take(taken)

    def add_aside(self, needs: Collection[Need], reason: str) -> None:
        """Count needs that were taken off as not done after all."""
        self.set_aside.setdefault(reason, []).extend(needs)

    def set_dictionary_aside(self, dictionary: str, reason: str) -> None:
        """Give up a dictionary for this night."""
        for group in {group_of(need) for need in self.needs if need.dictionary == dictionary}:
            self.set_group_aside(group, reason)

    def set_rest_aside(self, reason: str) -> None:
        """Give up whatever is left."""
        for group in {group_of(need) for need in self.needs}:
            self.set_group_aside(group, reason)

    def _take(self, needs: Collection[Need]) -> None:
        taken = {(need.dictionary, need.feature) for need in needs}
        self.needs = [need for need in self.needs if (need.dictionary, need.feature) not in taken]
