"""How a harvest says that some of its shards cannot be made."""

from collections.abc import Sequence

from thresher.contracts.errors import ThresherError
from thresher.harvest.scheduler import PoisonRange


class HarvestError(ThresherError):
    """Shards failed more often than allowed; what else was made is committed."""


def harvest_error(poison: Sequence[PoisonRange], num_committed: int, num_shards: int) -> HarvestError:
    """Every shard that was set aside, and what is kept."""
    left = num_shards - num_committed - len(poison)
    what = f"{len(poison)} of {num_shards} shards were set aside"
    what += f", more than actors.max_failed_shards, so that {left} were not tried" if left else ""
    lines = "".join(f"\n  {item}" for item in poison)
    return HarvestError(
        f"{what}:{lines}\nThe other {num_committed} are committed and kept: mend the cause and run the same spec "
        "again."
    )
