"""Which fits are trained beside each other: those of the same rows in the same order, as many as memory holds."""

from collections import defaultdict
from collections.abc import Sequence

from thresher.contracts.errors import SpecError
from thresher.contracts.ids import canonical_json
from thresher.dictionary.prepare import CheckedFit
from thresher.dictionary.spec import FitSpec

FLOAT_BYTES = 4
COPIES = 4
"""A weight, its gradient and Adam's two moments."""
BATCH_COPIES = 6
"""Of a batch's rows: read, mapped, reconstructed, and the gradients of these."""
PIECE_BYTES = 256 << 20
"""What the selection of active latents holds at once, whichever dictionary is at work."""
GIB = 1 << 30


def pack(fits: Sequence[CheckedFit], memory_gib: float) -> list[list[CheckedFit]]:
    """Fits in groups that train on one read each, in the order given within a group.

    Raises:
        SpecError: a dictionary does not fit memory by itself.
    """
    by_rows: dict[str, list[CheckedFit]] = defaultdict(list)
    for fit in fits:
        by_rows[canonical_json(rows_of(fit.spec))].append(fit)
    return [group for alike in by_rows.values() for group in _filled(alike, int(memory_gib * GIB))]


def rows_of(spec: FitSpec) -> dict[str, object]:
    """What the rows, their order and the way they are read follow from."""
    training = spec.training
    shared = training.model_dump(
        mode="json", include={"batch_rows", "seed", "shuffle", "fit_split", "holdout_split", "min_position"}
    )
    how = {"num_workers", "min_workers", "cpus_per_worker", "use_gpu", "max_failures"}
    where = {"harvest", "mixture", "target", "cache_dir", "cache_gib", "memory_gib"}
    return {**shared, **spec.model_dump(mode="json", include=how | where)}


def training_bytes(fit: CheckedFit) -> int:
    """Memory that the weights of a dictionary take while it trains."""
    num_latents, d_in, d_out = fit.spec.architecture.num_latents, fit.harvests.d_in, fit.harvests.d_out
    return COPIES * FLOAT_BYTES * num_latents * (d_in + d_out)


def _filled(fits: Sequence[CheckedFit], memory_bytes: int) -> list[list[CheckedFit]]:
    first = fits[0]
    row_bytes = FLOAT_BYTES * (first.harvests.d_in + first.harvests.d_out)
    left_bytes = memory_bytes - PIECE_BYTES - BATCH_COPIES * first.spec.training.batch_rows * row_bytes
    groups: list[list[CheckedFit]] = [[]]
    used = 0
    for fit in fits:
        needed = training_bytes(fit)
        if needed > left_bytes:
            least = (needed + memory_bytes - left_bytes) / GIB
            raise SpecError(
                "memory_gib",
                memory_bytes / GIB,
                allowed=f"at least {least:.2f}",
                mend=f"A dictionary of {fit.spec.architecture.num_latents:,} latents takes that much while it trains.",
            )
        if used + needed > left_bytes:
            groups.append([])
            used = 0
        groups[-1].append(fit)
        used += needed
    return groups
