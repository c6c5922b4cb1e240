"""Whether torchrun is at work; asked before torch is imported, which takes seconds."""

from __future__ import annotations

import os


def started_by_torchrun() -> bool:
    """Whether torchrun started this process, alone or with others."""
    return "TORCHELASTIC_RUN_ID" in os.environ
