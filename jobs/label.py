"""Ray job: labels features and scores the labels.

Usage: python jobs/label.py SPEC.yaml [--set KEY=VALUE] [--plan]
"""

import sys

from thresher.pipelines.job import main

if __name__ == "__main__":
    sys.exit(main("label"))
