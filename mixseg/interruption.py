"""Signals that stop a run: it finishes its step, saves, and exits."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType, TracebackType
from typing import final

from mixseg.errors import InterruptionError

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

STOPPING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
"""Signals that stop a run."""

AGAIN = {signal.SIGINT: 1.0}
AGAIN_BY_PROGRAMS = 10.0
"""Seconds after which the same signal means that somebody does not want to wait any longer.

Before that it is the same request: torchrun and srun pass on what has reached their children
already, since it was sent to the whole group. A person who presses Ctrl-C twice takes a second.
"""

_active: Interruption | None = None


@final
class Interruption:
    """While active, the first signal sets a flag, and the same one some seconds later ends the
    process at once.

    A signal of another kind only adds its weight: a scheduler announces the end by SIGUSR1 and
    sends SIGTERM later. SIGHUP stays ignored where it is, as under nohup.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._first: dict[int, float] = {}
        self._previous: dict[int, object] = {}

    @property
    def exit_code(self) -> int:
        """130 after SIGINT, 143 after any other signal, 0 before."""
        if self.signal is None:
            return 0
        return EXIT_INTERRUPTED if self.signal == signal.SIGINT else EXIT_TERMINATED

    def __enter__(self) -> Interruption:
        global _active
        for number in STOPPING:
            ignored = signal.getsignal(number) == signal.SIG_IGN
            if not (ignored and number == getattr(signal, "SIGHUP", None)):
                self._previous[number] = signal.signal(number, self._handle)
        _active = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        global _active
        _active = None
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
        now = time.monotonic()
        first = self._first.setdefault(number, now)
        if now - first >= AGAIN.get(signal.Signals(number), AGAIN_BY_PROGRAMS):
            os._exit(self.exit_code)


def stop_if_asked() -> None:
    """End what can be done again, such as a validation, if a signal has asked the run to stop.

    Raises:
        InterruptionError: One has.
    """
    if _active is not None and _active.signal is not None:
        raise InterruptionError(f"stopped by {signal.Signals(_active.signal).name}")
