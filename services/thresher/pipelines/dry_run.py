"""What a harvest would take, from its spec file."""

from collections.abc import Sequence

from thresher.harvest.spec import HarvestSpec


def dry_run_lines(spec_path: str, overrides: Sequence[str]) -> list[str]:
    """Load a spec, estimate its harvest, let go of Ray; returns the lines to print."""
    from thresher.harvest.dry_run import dry_run
    from thresher.runtime.ray_cluster import disconnect

    try:
        return dry_run(HarvestSpec.load(spec_path, overrides))
    finally:
        disconnect()
