"""Runs as processes of this machine."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import final

import torch

from mixseg.ablation.launcher import Errors, Launcher
from mixseg.ablation.runs import Job

INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Exit codes of a run that was told to stop, and has saved."""


@final
class LocalLauncher(Launcher):
    """Starts processes; they share the cores, and take GPUs in turn."""

    def __init__(self, at_once: int) -> None:
        """Start at most ``at_once`` processes at a time."""
        self.at_once = at_once
        self._running: list[subprocess.Popen[bytes]] = []

    def parting(self) -> Sequence[str]:
        """The runs have saved and ended."""
        return ("stopped; the same command goes on with it",)

    def run(self, jobs: Sequence[Job], say: Callable[[str], None]) -> Errors:
        """Train; see :class:`Launcher`."""
        for job in jobs:
            job.prepare()
        slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(self.at_once):
            slots.put(slot)

        # A run may hear of Ctrl-C alone: in the background shells let it pass their children by.
        stopped = threading.Event()

        def train(job: Job) -> str | None:
            if stopped.is_set():
                return None
            if job.done:
                say(f"{job.title}: done before")
                return None
            slot = slots.get()
            try:
                say(f"{job.title}: started, see {job.log}")
                code = self._train(job, slot)
                if code in INTERRUPTED:
                    stopped.set()
                error = (job.last_line() or f"exit code {code}") if code else None
                say(f"{job.title}: {error or 'done'}")
                return error
            finally:
                slots.put(slot)

        def terminate(number: int, frame: object) -> None:
            # Unlike Ctrl-C in a terminal, this may reach no run by itself.
            for process in self._running:
                process.terminate()
            raise KeyboardInterrupt

        with ThreadPoolExecutor(self.at_once) as pool, _handled(terminate):
            futures = {(job.row, job.seed): pool.submit(train, job) for job in jobs}
            try:
                ended = {key: future.result() for key, future in futures.items()}
            except KeyboardInterrupt:
                # Ctrl-C reaches the runs as well, which save and end; no further one is started.
                stopped.set()
                pool.shutdown(cancel_futures=True)
                raise
        if stopped.is_set():
            raise KeyboardInterrupt
        return {key: error for key, error in ended.items() if error is not None}

    def _train(self, job: Job, slot: int) -> int:
        threads = max(1, (os.cpu_count() or 1) // self.at_once)
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        if torch.cuda.device_count() > 1 and "CUDA_VISIBLE_DEVICES" not in os.environ:
            environment["CUDA_VISIBLE_DEVICES"] = str(slot % torch.cuda.device_count())
        with job.log.open("a", encoding="utf-8") as log:
            process = subprocess.Popen(job.command, stdout=log, stderr=log, env=environment)
            self._running.append(process)
            try:
                return process.wait()
            finally:
                self._running.remove(process)


@contextmanager
def _handled(handler: Callable[[int, object], None]) -> Iterator[None]:
    """A handler of SIGTERM and SIGHUP for a while, unless they are ignored, as under nohup.

    None outside of the main thread, which cannot have any.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] != signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])
