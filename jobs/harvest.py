"""Ray job: harvests activations with vLLM in Ray actors.

Usage: python jobs/harvest.py SPEC.yaml [--set KEY=VALUE]
"""

import sys

from thresher.pipelines.job import main

if __name__ == "__main__":
    sys.exit(main("harvest"))
