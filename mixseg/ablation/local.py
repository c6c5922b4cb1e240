"""The runs of an ablation as processes of this machine."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from mixseg.ablation.runs import Errors, Job
from mixseg.interruption import EXIT_INTERRUPTED, EXIT_TERMINATED


def train_here(jobs: Sequence[Job], at_once: int, say: Callable[[str], None]) -> Errors:
    """Train what is not finished, and return why runs failed; a failed one stops no other.

    ``at_once`` processes train at a time; they share the cores, and take GPUs in turn.

    Raises:
        KeyboardInterrupt: This process or a run was told to stop. All runs have saved and ended.
    """
    for job in jobs:
        job.prepare()
    slots: queue.SimpleQueue[int] = queue.SimpleQueue()
    for slot in range(at_once):
        slots.put(slot)
    running: list[subprocess.Popen[bytes]] = []
    # Ctrl-C may reach a run and not this process, which a shell may have started in the background.
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
            environment = _environment(slot, at_once)
            with job.log.open("a", encoding="utf-8") as log:
                process = subprocess.Popen(job.command, stdout=log, stderr=log, env=environment)
                running.append(process)
                code = process.wait()
            if code in (EXIT_INTERRUPTED, EXIT_TERMINATED):
                stopped.set()
            error = (job.last_line() or f"exit code {code}") if code else None
            say(f"{job.title}: {error or 'done'}")
            return error
        finally:
            slots.put(slot)

    def terminate(number: int, frame: object) -> None:
        # Unlike Ctrl-C in a terminal, this signal may not reach the runs by itself.
        for process in running:
            process.terminate()
        raise KeyboardInterrupt

    with ThreadPoolExecutor(at_once) as pool, _handled(terminate):
        futures = {(job.row, job.seed): pool.submit(train, job) for job in jobs}
        try:
            ended = {key: future.result() for key, future in futures.items()}
        except KeyboardInterrupt:
            stopped.set()  # no further run is started
            pool.shutdown(cancel_futures=True)
            raise
    if stopped.is_set():
        raise KeyboardInterrupt
    return {key: error for key, error in ended.items() if error is not None}


def _environment(slot: int, at_once: int) -> dict[str, str]:
    threads = max(1, (os.cpu_count() or 1) // at_once)
    if (own := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
        threads = min(threads, max(1, int(own)))
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    if torch.cuda.device_count() > 1 and "CUDA_VISIBLE_DEVICES" not in os.environ:
        environment["CUDA_VISIBLE_DEVICES"] = str(slot % torch.cuda.device_count())
    return environment


@contextmanager
def _handled(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Handle SIGTERM and SIGHUP for a while; not where they are ignored, as under nohup."""
    in_main = threading.current_thread() is threading.main_thread()  # no other can have handlers
    numbers = (signal.SIGTERM, signal.SIGHUP) if in_main else ()
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] != signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])
