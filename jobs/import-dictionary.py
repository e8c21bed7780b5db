"""Ray job: imports a dictionary that another tool made.

Usage: python jobs/import-dictionary.py SPEC.yaml [--set KEY=VALUE]
"""

import sys

from thresher.pipelines.job import main

if __name__ == "__main__":
    sys.exit(main("import-dictionary"))
