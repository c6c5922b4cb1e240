"""The runs of an ablation: independent processes, finished ones are kept."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from mixseg.ablation.grid import Grid, row_settings
from mixseg.config import (
    Settings,
    changed_settings,
    dump_settings,
    resolve_settings,
    with_absolute_paths,
)
from mixseg.errors import ConfigError
from mixseg.files import write_atomically

TRAINING_COMMANDS = {
    "distillation": "distill",
    "domain_adaptation": "uda",
    "semi_supervised": "ssl",
    "supervised": "supervised",
}
"""Method -> command that trains with it."""

INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Exit codes of a run that was told to stop, and has saved."""

OWN = ("name", "output", "seed", "data.workers")
"""Settings in which runs of one row may differ."""


@final
@dataclass(frozen=True)
class Job:
    """A run.

    Attributes:
        row: Name of its row.
        seed: Its seed.
        folder: Where it goes.
        settings: Those of the row.
    """

    row: str
    seed: int
    folder: Path
    settings: Settings

    @property
    def done(self) -> bool:
        """Whether it has been trained to its end."""
        return (self.folder / "summary.json").is_file()

    @property
    def preset(self) -> Path:
        """The file that it is started with."""
        return self.folder.with_name(f"{self.folder.name}.yaml")

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder.with_name(f"{self.folder.name}.log")


def plan(
    grid: Grid, output: Path, seeds: Sequence[int], common: Mapping[str, Any]
) -> tuple[Job, ...]:
    """The runs of a grid, checked before the first one starts.

    Args:
        grid: What is compared.
        output: Folder of the ablation; it may hold runs of an earlier call.
        seeds: One run of each row for each.
        common: Setting path -> value for every row.

    Raises:
        ConfigError: The settings of a row cannot work, or the folder holds a run that was made
            with other ones.
    """
    jobs = []
    for row in grid.rows:
        if row.cited:
            continue
        try:
            settings = with_absolute_paths(row_settings(grid, row, common))
        except ConfigError as error:
            raise ConfigError(f"row {row.name!r}: {error}") from error
        jobs += [
            Job(row.name, seed, output / f"{row.folder}-seed{seed}", settings) for seed in seeds
        ]
    for job in jobs:
        _check_earlier(job)
    # Seed by seed, so that an interrupted ablation has whole tables of fewer seeds.
    return tuple(sorted(jobs, key=lambda job: seeds.index(job.seed)))


def _check_earlier(job: Job) -> None:
    config = job.folder / "config.yaml"
    if not config.is_file():
        return
    changes = changed_settings(resolve_settings([config], {}), job.settings, OWN)
    if changes:
        raise ConfigError(
            f"{job.folder} was made with other settings ({'; '.join(changes)}); give another "
            "--output, or remove it"
        )


def write_presets(jobs: Sequence[Job]) -> None:
    """Write the file that each run is started with."""
    for job in jobs:
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(job.preset, dump_settings(job.settings))


def training_command(job: Job) -> list[str]:
    """What trains a run, or goes on with it; it needs the file of :func:`write_presets`."""
    command = [sys.executable, "-m", "mixseg", TRAINING_COMMANDS[job.settings.method]]
    command += ["--config", str(job.preset), "--output", str(job.folder.parent)]
    return [*command, "--name", job.folder.name, "--seed", str(job.seed), "--resume", "auto"]


def run_all(
    jobs: Sequence[Job], at_once: int, say: Callable[[str], None]
) -> dict[tuple[str, int], str]:
    """Train what is not trained yet.

    Args:
        jobs: From :func:`plan`.
        at_once: Processes at a time; they share the cores, and take GPUs in turn.
        say: Called with a line for each run that begins or ends.

    Returns:
        (row, seed) -> last line of what a failed run said; empty if all went well.

    Raises:
        KeyboardInterrupt: This process, or a run, was told to stop.
    """
    write_presets(jobs)
    slots: queue.SimpleQueue[int] = queue.SimpleQueue()
    for slot in range(at_once):
        slots.put(slot)

    # A run may hear of Ctrl-C alone: in the background shells let it pass their children by.
    stopped = threading.Event()
    running: list[subprocess.Popen[bytes]] = []

    def train(job: Job) -> str | None:
        if stopped.is_set():
            return None
        if job.done:
            say(f"{job.row}, seed {job.seed}: done before")
            return None
        slot = slots.get()
        try:
            say(f"{job.row}, seed {job.seed}: started, see {job.log}")
            code = _train(job, slot, at_once, running)
            if code in INTERRUPTED:
                stopped.set()
            error = _last_line(job, code) if code else None
            say(f"{job.row}, seed {job.seed}: {error or 'done'}")
            return error
        finally:
            slots.put(slot)

    def terminate(number: int, frame: object) -> None:
        # Unlike Ctrl-C in a terminal, this reaches no run by itself; a second one would kill them.
        for process in running:
            process.terminate()
        raise KeyboardInterrupt

    with ThreadPoolExecutor(at_once) as pool, _handled(signal.SIGTERM, terminate):
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


@contextmanager
def _handled(number: int, handler: Callable[[int, object], None]) -> Iterator[None]:
    """A signal handler for a while; none outside of the main thread, which cannot have any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def _train(job: Job, slot: int, at_once: int, running: list[subprocess.Popen[bytes]]) -> int:
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // at_once))}
    if torch.cuda.device_count() > 1 and "CUDA_VISIBLE_DEVICES" not in os.environ:
        environment["CUDA_VISIBLE_DEVICES"] = str(slot % torch.cuda.device_count())
    with job.log.open("a", encoding="utf-8") as log:
        process = subprocess.Popen(training_command(job), stdout=log, stderr=log, env=environment)
        running.append(process)
        try:
            return process.wait()
        finally:
            running.remove(process)


def _last_line(job: Job, code: int) -> str:
    lines = job.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else f"exit code {code}"
