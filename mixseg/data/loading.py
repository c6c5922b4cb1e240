"""Loader processes: starting them, waiting for what they give, and naming their failures."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, final

from mixseg.errors import DataError, TrainingError
from mixseg.interruption import STOPPING, stop_if_asked
from mixseg.terminal import complain, guard

POLL = 5.0
"""Seconds that a loader with workers waits for a batch before :func:`loaded` looks around."""

PATIENCE = 60.0
"""Seconds without a batch after which it is said that there is none."""

T = TypeVar("T")


def loaded(loader: Iterable[T], work: str, fewer: str = "--workers") -> Iterator[T]:
    """The batches of a loader, whose timeout is :data:`POLL`; its failures become our errors.

    A worker that gives nothing is waited for as long as its process is there: a drive may be slow,
    and a machine that was suspended has lost minutes of which it knows nothing.

    Messages name ``work``, what the loader does, and ``fewer``, the flag for its workers.

    Raises:
        TrainingError: A loader process died.
        InterruptionError: A signal has asked the run to stop.
    """
    batches: Iterator[T] | None = None
    waited = 0.0
    while True:
        stop_if_asked()
        try:
            if batches is None:
                batches = iter(loader)
                continue
            batch = next(batches)
        except StopIteration:
            return
        except (RuntimeError, OSError, EOFError) as error:
            # Besides torch's own error a dead worker shows as a connection that is refused or lost.
            pinning = getattr(batches, "_pin_memory_thread", None)
            dead = pinning is not None and not pinning.is_alive()
            if dead or "DataLoader timed out" not in str(error):
                raise _failed(work, error, fewer) from error
            waited += POLL
            if waited - POLL < PATIENCE <= waited:
                complain(f"warning: {work}: nothing for {waited:.0f} s, waiting on; a slow drive?")
        else:
            waited = 0.0
            yield batch


@final
class _Mapped(Generic[T]):
    def __init__(self, function: Callable[[int], T], items: Sequence[int]) -> None:
        self.function = function
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> T | DataError:
        try:
            return self.function(self.items[position])
        except DataError as error:
            # Raised in a worker, it would arrive with the worker's traceback as its message.
            return error


def in_processes(
    function: Callable[[int], T],
    items: Sequence[int],
    workers: int,
    work: str,
    fewer: str = "--workers",
) -> Iterator[T]:
    """The results of a function for each item in order; with 0 workers, this process computes them.

    Raises:
        DataError: The function raised it.
        TrainingError: A process died; ``work`` says what it was doing.
    """
    from torch.utils.data import DataLoader

    mapped: Any = _Mapped(function, items)
    loader: Iterable[T | DataError] = DataLoader(
        mapped,
        batch_size=None,
        num_workers=workers,
        timeout=POLL if workers else 0,
        worker_init_fn=start_worker,
    )
    for result in loaded(loader, work, fewer):
        if isinstance(result, DataError):
            raise result
        yield result


@contextmanager
def while_loading(work: str) -> Iterator[None]:
    """Names the death of a loader process that is noticed while its batches are worked on.

    Raises:
        TrainingError: Torch has raised its error in this block, wherever the process was.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise _failed(work, error) from error


def _failed(work: str, error: Exception, fewer: str = "--workers") -> TrainingError:
    return TrainingError(f"{work} failed: {error!r}. Out of memory? Try fewer {fewer}")


def start_worker(worker: int) -> None:
    """Prepare a loader process: one thread, and no reaction to signals meant for the run."""
    import torch

    torch.set_num_threads(1)
    guard()
    # Ctrl-C, timeout(1) and schedulers signal the whole process group, but what to do about it is
    # the trainer's decision: a worker that ended by itself would take the run with it.
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def _end_workers() -> None:
    # Torch would raise an error for each, with a traceback that nobody asked for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # They ignore the SIGTERM with which multiprocessing would end those that hang, before it waits
    # for them.
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def default_workers() -> int:
    """Loader processes per stream: half of the cores that this process may use, one to four."""
    return min(4, max(1, usable_cores() // 2))


def usable_cores() -> int:
    """Cores that this process may use, which on a shared machine are not all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
