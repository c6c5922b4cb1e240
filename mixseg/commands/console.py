"""Where commands speak."""

from __future__ import annotations

from rich.console import Console

from mixseg.distributed import world
from mixseg.terminal import new_console


def console_of_first() -> Console:
    """Where people read; of several processes the first one speaks."""
    return new_console(quiet=world().rank > 0)
