"""The folder of files that can be made again: demo scenes, counted classes."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache() -> Path:
    """``$MIXSEG_CACHE``, else ``$XDG_CACHE_HOME/mixseg``, else ``~/.cache/mixseg``."""
    if own := os.environ.get("MIXSEG_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "mixseg"
    return Path.home() / ".cache" / "mixseg"
