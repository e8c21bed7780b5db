"""Ray job: labels what needs it most, within a night's windows.

Usage: python jobs/nightly.py SPEC.yaml [--set KEY=VALUE]
"""

import sys

from thresher.pipelines.job import main

if __name__ == "__main__":
    sys.exit(main("nightly"))
