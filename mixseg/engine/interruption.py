"""Signals that stop a run: it finishes its step, saves, and exits."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import final

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


@final
class Interruption:
    """While active, the first signal sets a flag and the second ends the process at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, object] = {}

    @property
    def exit_code(self) -> int:
        """130 after SIGINT, 143 after SIGTERM, SIGUSR1 or SIGUSR2."""
        return EXIT_INTERRUPTED if self.signal == signal.SIGINT else EXIT_TERMINATED

    def __enter__(self) -> Interruption:
        for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"):
            number = getattr(signal, name, None)
            if number is not None:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(self.exit_code)
        self.signal = number
