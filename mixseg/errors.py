"""Errors that are meant to be read by the person who runs mixseg.

Every message says what was found, where (file, line or key) and what to do. The
command line prints them without a traceback; anything else that escapes is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class MixsegError(Exception):
    """Base of every error that mixseg raises on purpose.

    Attributes:
        everywhere: Whether all processes of a run raise it together, so that one of them says it.
    """

    everywhere = False


class ConfigError(MixsegError):
    """A setting is unknown, has the wrong type or contradicts another one."""


class DataError(MixsegError):
    """A data set, list file, image or label is not what it has to be."""


class UnknownSplitError(DataError):
    """A data set has no split of that name."""


class CheckpointError(MixsegError):
    """A weight file or checkpoint is damaged, unsafe, or does not fit."""


class TrainingError(MixsegError):
    """A run cannot go on, for example because its loss is not finite."""


class InterruptionError(MixsegError):
    """A signal has asked a run to stop; what was under way is done again when it goes on."""


def named_first(names: Sequence[str], most: int = 6) -> str:
    """Names for people, the first of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


MANY = 40
"""Choices of which a message names the closest only."""


def unknown_name(
    kind: str, name: object, choices: Iterable[str], instead: str | None = None
) -> str:
    """The message for a name that a registry does not hold: the closest one and the choices.

    Args:
        kind: What it is the name of.
        name: The unknown one.
        choices: The known ones; of more than :data:`MANY` the closest are listed.
        instead: Said in place of the list.
    """
    known = sorted(choices)
    given = str(name)[:80]  # comparing takes the square of the length
    near = difflib.get_close_matches(given, known, n=5, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    if instead is None and len(known) <= MANY:
        instead = f"Choices: {', '.join(known)}"
    elif instead is None:
        instead = f"There are {len(known)}, such as {', '.join((near or known)[:5])}"
    return f"unknown {kind} {given!r}.{hint} {instead}"
