"""What a command is, and the exit codes it shares with the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

EXIT_ERROR = 1


EXIT_USAGE = 2


Command = Callable[[Sequence[str]], int]
