"""Where commands speak, and how they print what is no table."""

from __future__ import annotations

from rich.console import Console

from mixseg.distributed import world


def console_of_first() -> Console:
    """Where people read; of several processes the first one speaks."""
    return Console(quiet=world().rank > 0)


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print a text as it is: no markup is read in it, no number coloured, no long line broken.

    Names from data go through :func:`mixseg.escaping.printable` first.
    """
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
