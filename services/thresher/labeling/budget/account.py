"""Who caused which cost: every request a run used, by purpose and by feature."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from thresher.contracts.manifests import PurposeUsage
from thresher.labeling.budget.prices import Charge, PriceTable, Usage
from thresher.labeling.endpoints.requests import ModelRequest

_feature: ContextVar[int | None] = ContextVar("feature", default=None)


@contextmanager
def charged_to(feature: int) -> Iterator[None]:
    """What is asked within the block, also by tasks started in it, is for this feature."""
    token = _feature.set(feature)
    try:
        yield
    finally:
        _feature.reset(token)


@dataclass(frozen=True)
class Entry:
    """A request that was answered.

    Args:
        shelf: where the answer lies.
        is_paid: by this run, now or in an earlier attempt.
        feature: for which it was asked, if for one.
    """

    shelf: str
    sha256: str
    purpose: str
    model: str
    usage: Usage
    is_paid: bool
    feature: int | None


class Account:
    """The requests of a run, each once. One that several features share counts for the first of them by number."""

    def __init__(self, prices: PriceTable) -> None:
        self._prices = prices
        self._entries: dict[str, Entry] = {}

    def note(self, shelf: str, request: ModelRequest, usage: Usage, *, is_paid: bool) -> None:
        """A request was answered, for the feature that is worked on."""
        self.add(Entry(shelf, request.sha256, request.purpose, request.model, usage, is_paid, _feature.get()))

    def add(self, entry: Entry) -> None:
        known = self._entries.setdefault(entry.sha256, entry)
        if entry.feature is not None and (known.feature is None or entry.feature < known.feature):
            self._entries[entry.sha256] = replace(known, feature=entry.feature)

    def take(self) -> list[Entry]:
        """What was noted since the last call; it is forgotten here."""
        taken, self._entries = list(self._entries.values()), {}
        return taken

    def answers(self) -> dict[str, list[str]]:
        """Hashes of the requests by the shelf of their answers, both in order."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for entry in self._entries.values():
            found[entry.shelf].append(entry.sha256)
        return {shelf: sorted(hashes) for shelf, hashes in sorted(found.items())}

    def usage_of_features(self) -> dict[int, tuple[Usage, float | None]]:
        """Tokens and cost by feature."""
        found: defaultdict[int, list[Entry]] = defaultdict(list)
        for entry in self._entries.values():
            if entry.feature is not None:
                found[entry.feature].append(entry)
        return {feature: self._charge(entries) for feature, entries in found.items()}

    def by_purpose(self) -> dict[str, PurposeUsage]:
        """What each purpose took."""
        found: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in self._entries.values():
            found[entry.purpose].append(entry)
        return {purpose: self._sum(entries) for purpose, entries in sorted(found.items())}

    def total(self) -> PurposeUsage:
        return self._sum(list(self._entries.values()))

    def _sum(self, entries: list[Entry]) -> PurposeUsage:
        usage, cost = self._charge(entries)
        return PurposeUsage(
            num_calls=len(entries),
            num_calls_paid=sum(entry.is_paid for entry in entries),
            num_tokens_paid=sum(entry.usage.num_tokens for entry in entries if entry.is_paid),
            num_prompt_tokens=usage.num_prompt_tokens,
            num_completion_tokens=usage.num_completion_tokens,
            num_cached_tokens=usage.num_cached_tokens,
            cost=cost,
        )

    def _charge(self, entries: list[Entry]) -> tuple[Usage, float | None]:
        """Tokens are added up before they are priced: a sum of floats would depend on the order of the answers."""
        by_model: defaultdict[str, Usage] = defaultdict(Usage)
        for entry in entries:
            by_model[entry.model] += entry.usage
        charges = [self._prices.charge(model, usage) for model, usage in sorted(by_model.items())]
        return sum(by_model.values(), Usage()), sum(charges, Charge()).cost
