"""Which exemplars are shown: a few of each kind, never two of one document."""

from collections.abc import Collection, Sequence

from thresher.contracts.exemplars import ExemplarKind
from thresher.labeling.exemplars.exemplar import Exemplar


def choose(
    exemplars: Sequence[Exemplar],
    kind: ExemplarKind,
    count: int,
    taken: Collection[str],
    *,
    num_tokens: int,
    seed: int,
) -> list[Exemplar]:
    """Up to `count` exemplars of a kind, cropped, spread over their ranks, of documents not `taken` yet."""
    free: dict[str, Exemplar] = {}
    for exemplar in exemplars:
        if exemplar.kind == kind and exemplar.doc_id not in taken:
            free.setdefault(exemplar.doc_id, exemplar)
    return [item.crop(num_tokens, seed) for item in spread(list(free.values()), count)]


def spread(items: Sequence[Exemplar], count: int) -> list[Exemplar]:
    """`count` items at even distances, the first among them; all if there are fewer."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def choose_kinds(
    exemplars: Sequence[Exemplar], counts: Sequence[tuple[ExemplarKind, int]], *, num_tokens: int, seed: int
) -> list[Exemplar]:
    """Exemplars of several kinds in turn; a document is shown once."""
    chosen: list[Exemplar] = []
    for kind, count in counts:
        taken = {item.doc_id for item in chosen}
        chosen += choose(exemplars, kind, count, taken, num_tokens=num_tokens, seed=seed)
    return chosen
