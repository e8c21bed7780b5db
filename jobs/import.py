"""Ray job: imports activations made elsewhere into shards of a harvest.

Usage: python jobs/import.py SPEC.yaml [--set KEY=VALUE]
"""

import sys

from thresher.pipelines.job import main

if __name__ == "__main__":
    sys.exit(main("import"))
