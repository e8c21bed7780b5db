"""Ray job: fits a sparse dictionary with Ray Train.

Usage: python jobs/fit.py SPEC.yaml [--set KEY=VALUE]
"""

import sys

from thresher.pipelines.job import main

if __name__ == "__main__":
    sys.exit(main("fit"))
