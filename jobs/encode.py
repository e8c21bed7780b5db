"""Ray job: encodes held-out text and builds feature statistics and exemplars.

Usage: python jobs/encode.py SPEC.yaml [--set KEY=VALUE]
"""

import sys

from thresher.pipelines.job import main

if __name__ == "__main__":
    sys.exit(main("encode"))
