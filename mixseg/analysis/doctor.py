"""What this machine has, and whether it is enough for a run."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch.utils.data import DataLoader, Dataset

from mixseg.analysis.costs import Needs, checkpoints_at_once, estimate_needs
from mixseg.analysis.noise import NoiseRun
from mixseg.config.sections import Settings
from mixseg.data.loading import start_worker, usable_cores
from mixseg.errors import ConfigError, DataError
from mixseg.files import default_cache
from mixseg.training.checks import check_settings
from mixseg.training.data import RunData
from mixseg.training.precision import choose_device, has_amx
from mixseg.training.run_directory import PACKAGES, package_version
from mixseg.training.streams import loader_workers

LOG = logging.getLogger("mixseg")

WORKER_PATIENCE = 60.0
"""Seconds after which a loader process that returns nothing counts as failed to start."""


class Finding(NamedTuple):
    """A line of the report.

    Attributes:
        name: What was looked at.
        text: What was found.
        wrong: Whether a run would fail because of it.
    """

    name: str
    text: str
    wrong: bool = False


def examine_run(settings: Settings, *, measured: bool) -> Iterator[Finding]:
    """What the machine has, whether the data of a run can be opened, and what the run will need.

    Args:
        settings: Settings of the run.
        measured: Take training steps on noise, which tell memory and disk.
    """
    device, output = settings.training.device, Path(settings.output).expanduser()
    yield from examine(device, output, loader_workers(settings.data.workers))
    data, source = settings.data, settings.source_domain
    # Built-in scenes can always be opened.
    if data.dataset != "demo" or (data.root, source.root) != (None, None):
        RunData(settings).check()
        try:
            found = RunData(settings).training()
        except DataError as error:
            yield Finding("data", str(error), wrong=True)
            return
        yield Finding(
            "data",
            ", ".join(f"{len(indices)} {name}" for name, (_, indices) in found.streams.items())
            + f" and {len(found.val)} validation images",
        )
    if not measured:
        return
    LOG.info("taking training steps on noise, this may take minutes")
    check_settings(settings)
    try:
        run = NoiseRun.of(settings, None)
    except ConfigError:  # only the data tell
        run = NoiseRun.of(settings, RunData(settings).training())
    kept = settings.checkpoints
    count = checkpoints_at_once(
        settings.training.iterations, kept.every, kept.keep, kept.keep_every
    )
    # A better network is written beside those that the kept checkpoints would go back to.
    yield from compare_needs(estimate_needs(run), device, output, count, kept.keep + 1)


def examine(device_name: str, output: Path, workers: int) -> Iterator[Finding]:
    """What the machine has.

    Args:
        device_name: Setting ``training.device``.
        output: Folder of the runs.
        workers: Number of loader processes that are started as a test.
    """
    found = {name: package_version(name) or "not installed" for name in PACKAGES}
    packages = ", ".join(f"{name} {version}" for name, version in found.items())
    yield Finding("versions", f"Python {platform.python_version()}, {packages}")
    yield Finding("system", f"{platform.platform()}, CUDA {torch.version.cuda or 'not built in'}")
    yield Finding(
        "cores", f"{usable_cores()} for this process, {torch.get_num_threads()} torch threads"
    )
    free, total = main_memory()
    yield Finding("memory", f"{_size(free)} free of {_size(total)}")
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        yield Finding(f"cuda:{index}", f"{name}, {_size(free)} free of {_size(total)}")
    device = choose_device(device_name)
    yield Finding("device", f"{device} ({device_name})")
    if device.type == "cuda":
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        precision = f"fp32, fp16, bf16 {'in hardware' if bf16 else 'emulated, slow'}"
    else:
        amx = "with AMX tiles" if has_amx() else "without AMX tiles, slower than fp32"
        precision = f"fp32, bf16 {amx} ({torch.backends.cpu.get_cpu_capability()})"
    yield Finding("precision", precision)
    for name, folder in (("output", output), ("cache", default_cache())):
        there = _there(folder)
        if os.access(there, os.W_OK | os.X_OK):
            yield Finding(name, f"{folder}: {_size(shutil.disk_usage(there).free)} free")
        else:
            yield Finding(name, f"{folder}: nothing can be written into {there}", wrong=True)
    yield _loaders(workers)


def compare_needs(
    needs: Needs, device_name: str, output: Path, checkpoints: int, best: int
) -> Iterator[Finding]:
    """Compare what a run needs with what there is.

    Args:
        needs: What the run needs.
        device_name: Setting ``training.device``.
        output: Folder of the runs.
        checkpoints: Most checkpoints that lie in the run's folder at once.
        best: Most copies of the best networks.
    """
    device = choose_device(device_name)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else main_memory()[0]
    how = "measured on noise of the run's size"
    if not needs.is_measured:
        how = "from steps on smaller noise: " + ", ".join(
            f"{_size(peak)} at {pixels / 1e6:.2f} of {needs.pixels / 1e6:.2f} MPixel"
            for pixels, peak in sorted(needs.measured.items())
        )
    advice = (
        ". Take smaller batches with training.accumulate, a smaller data.crop or data.resize, "
        "or training.precision bf16"
    )
    wrong = needs.memory > free
    text = f"{_size(needs.memory)} of {_size(free)} free, {how}{advice * wrong}"
    yield Finding("memory needed", text, wrong)
    space = shutil.disk_usage(_there(output)).free
    disk = best * needs.best + checkpoints * needs.checkpoint
    advice = ". Lower checkpoints.keep, raise checkpoints.keep_every, or take another --output"
    wrong = disk > space
    text = (
        f"{_size(disk)} of {_size(space)} free: {checkpoints} checkpoints of "
        f"{_size(needs.checkpoint)} and the best networks{advice * wrong}"
    )
    yield Finding("disk needed", text, wrong)


def main_memory() -> tuple[int, int]:
    """Free and total bytes of main memory, within the limit of the process's control group."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    free = page * os.sysconf("SC_AVPHYS_PAGES")
    lines = _lines(Path("/proc/meminfo"))  # counts caches that would be given up as free
    free = next((1024 * int(line.split()[1]) for line in lines if "MemAvailable" in line), free)
    # Containers and schedulers limit a group of processes, not the machine.
    limit = _number(Path("/sys/fs/cgroup/memory.max"))
    used = _number(Path("/sys/fs/cgroup/memory.current"))
    if limit is not None and used is not None and limit < total:
        total, free = limit, min(free, max(0, limit - used))
    return free, total


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # another system than Linux
        return []


def _number(path: Path) -> int | None:
    lines = _lines(path)
    return int(lines[0]) if lines and lines[0].isdigit() else None


def _there(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir())


def _loaders(workers: int) -> Finding:
    if not workers:
        return Finding("loader workers", "none; images are read by the training process")
    begun = time.perf_counter()
    try:
        numbers = cast(Dataset[int], range(workers))
        how: dict[str, Any] = {"timeout": WORKER_PATIENCE, "worker_init_fn": start_worker}
        for _ in DataLoader(numbers, num_workers=workers, **how):
            pass
    except (RuntimeError, OSError, EOFError) as error:
        return Finding(
            "loader workers",
            f"{workers} could not start: {error}. Is /dev/shm full? --workers 0 needs none",
            wrong=True,
        )
    return Finding("loader workers", f"{workers} start in {time.perf_counter() - begun:.1f} s")


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
