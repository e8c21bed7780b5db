"""Ray job: splices a dictionary's reconstruction into its model and measures what that costs.

Usage: python jobs/evaluate.py SPEC.yaml [--set KEY=VALUE]
"""

import sys

from thresher.pipelines.job import main

if __name__ == "__main__":
    sys.exit(main("evaluate"))
