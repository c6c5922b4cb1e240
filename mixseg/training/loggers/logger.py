"""The interface of a logger."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Logger(ABC):
    """Writes the values of a run; of several processes the first alone has loggers."""

    @abstractmethod
    def __init__(self, folder: Path) -> None:
        """Write into the folder of a run; subclasses may add options."""

    @abstractmethod
    def begin(self, step: int, saved: Mapping[str, Any]) -> None:
        """Begin, or go on.

        Args:
            step: The run goes on from here; what was logged of later steps is dropped.
            saved: What :meth:`saved` gave for the checkpoint; empty in a new run.
        """

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        """Write values after a step; None is a value that is not defined.

        Raises:
            TrainingError: The disk is full.
        """

    def saved(self) -> dict[str, Any]:
        """JSON values for a checkpoint; all that was logged is on disk by then."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Close the files; raises nothing."""
