"""Ray job: links labels that say the same, and names their families.

Usage: python jobs/families.py SPEC.yaml [--set KEY=VALUE]
"""

import sys

from thresher.pipelines.job import main

if __name__ == "__main__":
    sys.exit(main("families"))
