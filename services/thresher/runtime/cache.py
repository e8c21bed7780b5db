"""The folder on this machine for what can be made again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """THRESHER_CACHE, else ~/.cache/thresher."""
    return Path(os.environ.get("THRESHER_CACHE", Path.home() / ".cache" / "thresher"))
