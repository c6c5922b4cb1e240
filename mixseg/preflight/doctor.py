"""What this machine has for a run, and whether it is enough for a configured one."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, final

import torch
from torch.utils.data import DataLoader, Dataset

from mixseg.config import Settings
from mixseg.data.cache import default_cache
from mixseg.data.streams import start_worker, usable_cores
from mixseg.errors import DataError
from mixseg.preflight.memory import Needs, checkpoints_at_once
from mixseg.training.data import check_data_settings, open_training_data
from mixseg.training.precision import choose_device, has_amx
from mixseg.training.run_directory import PACKAGES, package_version

WORKER_PATIENCE = 60.0
"""Seconds after which a loader process that gives nothing counts as one that cannot start."""


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


def examine(settings: Settings, workers: int) -> Iterator[Finding]:
    """What the machine has.

    Args:
        settings: Say which device, and where output goes.
        workers: Loader processes that are started to see whether they do.
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
    device = choose_device(settings.training.device)
    yield Finding("device", f"{device} ({settings.training.device})")
    yield Finding("precision", _precision(device))
    for name, folder in (
        ("output", Path(settings.output).expanduser()),
        ("cache", default_cache()),
    ):
        yield _disk(name, folder)
    yield _loaders(workers)


def examine_data(settings: Settings) -> Iterator[Finding]:
    """Whether a run could open the data that the settings name; built-in scenes always can be.

    Raises:
        ConfigError: It is not said where the data are.
    """
    data, source = settings.data, settings.source_domain
    if data.dataset == "demo" and (data.root, source.root) == (None, None):
        return
    check_data_settings(settings)
    try:
        found = open_training_data(settings)
    except DataError as error:
        yield Finding("data", str(error), wrong=True)
        return
    yield Finding(
        "data",
        f"{len(found.split.labeled)} labelled, {len(found.unlabeled_indices)} unlabelled and "
        f"{len(found.val)} validation images",
    )


def compare_needs(settings: Settings, needs: Needs) -> Iterator[Finding]:
    """What a run will take, against what there is."""
    device = choose_device(settings.training.device)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else main_memory()[0]
    how = (
        "measured on noise of the run's size"
        if needs.is_measured
        else "from steps on smaller noise: "
        + ", ".join(
            f"{_size(peak)} at {pixels / 1e6:.2f} of {needs.pixels / 1e6:.2f} MPixel"
            for pixels, peak in sorted(needs.measured.items())
        )
    )
    advice = ""
    if needs.memory > free:
        advice = (
            ". Take smaller batches with training.accumulate, a smaller data.crop or data.resize, "
            "or training.precision bf16"
        )
    yield Finding(
        "memory needed",
        f"{_size(needs.memory)} of {_size(free)} free, {how}{advice}",
        needs.memory > free,
    )
    folder = _there(Path(settings.output).expanduser())
    space = shutil.disk_usage(folder).free
    count = checkpoints_at_once(settings)
    advice = ". Lower checkpoints.keep, raise checkpoints.keep_every, or take another --output"
    yield Finding(
        "disk needed",
        f"{_size(needs.disk)} of {_size(space)} free: {count} checkpoints of "
        f"{_size(needs.checkpoint)} and the best networks" + (advice * (needs.disk > space)),
        needs.disk > space,
    )


def main_memory() -> tuple[int, int]:
    """Bytes of main memory that are free for this process and that it has, by machine or group."""
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


def _precision(device: torch.device) -> str:
    if device.type == "cuda":
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return f"fp32, fp16, bf16 {'in hardware' if bf16 else 'emulated, slow'}"
    amx = "with AMX tiles" if has_amx() else "without AMX tiles, slower than fp32"
    return f"fp32, bf16 {amx} ({torch.backends.cpu.get_cpu_capability()})"


def _there(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir())


def _disk(name: str, folder: Path) -> Finding:
    there = _there(folder)
    free = _size(shutil.disk_usage(there).free)
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding(name, f"{folder}: nothing can be written into {there}", wrong=True)
    return Finding(name, f"{folder}: {free} free")


@final
class _Numbers(Dataset[int]):
    """As many items as there are loader processes."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


def _loaders(workers: int) -> Finding:
    if not workers:
        return Finding("loader workers", "none; images are read by the training process")
    begun = time.perf_counter()
    try:
        for _ in DataLoader(
            _Numbers(workers),
            num_workers=workers,
            timeout=WORKER_PATIENCE,
            worker_init_fn=start_worker,
        ):
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
