"""What a person sees of a run: a bar with the time left, or plain lines where there is no
terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mixseg.terminal import Bar, say

QUIET_SECONDS = 20.0
"""Seconds between plain lines."""


@final
class TrainingProgress:
    """Progress of the steps; a context manager."""

    def __init__(self, console: Console, total: int, first: int) -> None:
        self.console = console
        self.total = total
        self.first = first
        self._start = self._spoken = time.monotonic()
        self._bar = Bar(
            console,
            TextColumn("[bold]training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task("", total=total, completed=first, note="")

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(self, done: int, note: str) -> None:
        """Show the number of finished steps and a short note."""
        self._bar.update(self._task, completed=done, note=note)
        now = time.monotonic()
        if not self.console.is_terminal and now - self._spoken >= QUIET_SECONDS:
            self._spoken = now
            left = (now - self._start) / max(1, done - self.first) * (self.total - done)
            self.say(f"step {done}/{self.total}  {note}  {left / 60:.1f} min left")

    def say(self, text: str) -> None:
        """A line above the bar."""
        say(self.console, text)


@contextmanager
def progress_bar(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for simpler work; gives a function of (done, total)."""
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(console, *columns) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
