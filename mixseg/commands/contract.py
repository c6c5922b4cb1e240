"""What a command is, and how it says to the shell that something went wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence

EXIT_ERROR = 1
"""Something that was looked at or run is not as it should be."""

EXIT_USAGE = 2
"""What was asked for makes no sense."""

Command = Callable[[Sequence[str]], int]
"""From the arguments after its name to an exit code; 0 if all is well.

Errors for people leave it as :class:`mixseg.errors.MixsegError`.
"""

SEVERAL_PROCESSES: set[Command] = set()
"""Commands that torchrun may start; the others are refused under it."""


def for_several_processes(command: Command) -> Command:
    """Mark a command that divides its work among the processes of torchrun."""
    SEVERAL_PROCESSES.add(command)
    return command


PRINTS_ITS_RESULT: set[Command] = set()
"""Commands whose result is what they print; that of the others lies in files."""


def prints_its_result(command: Command) -> Command:
    """Mark a command that has failed if what it prints does not arrive."""
    PRINTS_ITS_RESULT.add(command)
    return command
