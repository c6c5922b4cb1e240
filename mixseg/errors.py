"""Errors that are meant to be read by the person who runs mixseg.

Every message says what was found, where (file, line or key) and what to do. The
command line prints them without a traceback; anything else that escapes is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


MANY = 40
"""Choices of which a message names the closest only."""


def unknown_name(kind: str, name: object, choices: Iterable[str]) -> str:
    """The message for a name that a registry does not hold: the choices and the closest one."""
    known = sorted(choices)
    given = str(name)[:80]  # comparing takes the square of the length
    near = difflib.get_close_matches(given, known, n=5, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    if len(known) > MANY:
        listed = (
            f"Close to it: {', '.join(near)}; {len(known)} in all"
            if near
            else (f"There are {len(known)}, from {known[0]} to {known[-1]}")
        )
    else:
        listed = f"Choices: {', '.join(known)}"
    return f"unknown {kind} {given!r}.{hint} {listed}"
