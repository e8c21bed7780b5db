"""Ray job: builds a corpus of packed token sequences.

Usage: python jobs/corpus.py SPEC.yaml [--set KEY=VALUE]
"""

import sys

from thresher.pipelines.job import main

if __name__ == "__main__":
    sys.exit(main("corpus"))
