"""Who starts the runs of an ablation and waits for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from mixseg.ablation.runs import Job

Errors = Mapping[tuple[str, int], str]
"""(row, seed) -> why that run failed; runs that went well are not in it."""


class Launcher(ABC):
    """Trains what is not trained yet; finished runs are kept, a failed one stops no other."""

    @abstractmethod
    def run(self, jobs: Sequence[Job], say: Callable[[str], None]) -> Errors:
        """Train.

        Args:
            jobs: From :func:`mixseg.ablation.runs.plan`.
            say: Called with a line for each run that begins or ends.

        Returns:
            What failed.

        Raises:
            KeyboardInterrupt: This process was told to stop.
        """

    @abstractmethod
    def parting(self) -> Sequence[str]:
        """Lines for whoever has told :meth:`run` to stop: what goes on, and how to go on."""
