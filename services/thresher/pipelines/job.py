"""What a job's entry point does: parse, build, run, print the id, exit with 0, 1 or 2."""

import argparse
import sys
from collections.abc import Sequence

from thresher.contracts.errors import SpecError, ThresherError
from thresher.pipelines.stages import STAGES

EXIT_FAILED = 1
EXIT_USAGE = 2


def main(stage_name: str, arguments: Sequence[str] | None = None) -> int:
    """Run one stage from a spec file, as `python jobs/STAGE.py SPEC --set key=value`."""
    stage = STAGES[stage_name]
    parser = argparse.ArgumentParser(description=stage.spec.__doc__)
    parser.add_argument("spec", help="YAML file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the spec"
    )
    if stage.plan is not None:
        parser.add_argument("--plan", action="store_true", help="make nothing: say what it would take")
    options = parser.parse_args(arguments)
    try:
        if stage.plan is not None and options.plan:
            print("\n".join(stage.plan(options.spec, options.set)))
        else:
            print(run_stage(stage_name, options.spec, options.set))
    except ThresherError as error:
        print(f"{stage_name}: {error}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, SpecError) else EXIT_FAILED
    return 0


def run_stage(stage_name: str, spec_path: str, overrides: Sequence[str]) -> str:
    """Load a spec, run its stage, let go of Ray; returns the id of what was made."""
    from thresher.runtime.ray_cluster import disconnect

    stage = STAGES[stage_name]
    try:
        return stage.run(stage.spec.load(spec_path, overrides))
    finally:
        disconnect()
