"""Ray job: publishes a release.

Usage: python jobs/publish.py SPEC.yaml [--set KEY=VALUE]
"""

import sys

from thresher.pipelines.job import main

if __name__ == "__main__":
    sys.exit(main("publish"))
