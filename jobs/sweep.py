"""Ray job: fits a dictionary for every point of a grid.

Usage: python jobs/sweep.py SPEC.yaml [--set KEY=VALUE]
"""

import sys

from thresher.pipelines.job import main

if __name__ == "__main__":
    sys.exit(main("sweep"))
