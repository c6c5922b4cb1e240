"""Benchmarks for the terminal and as JSON."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from rich.table import Table

from mixseg.benchmark.measure import Comparison, quartiles
from mixseg.benchmark.memory import AS_SET, MemoryReport
from mixseg.benchmark.step import StepReport
from mixseg.benchmark.workload import Workload
from mixseg.models import model_title


@final
@dataclass(frozen=True)
class PartReport:
    """What was found of one part.

    Attributes:
        name: Such as ``mixers``.
        comparisons: Rows of its table.
        step: Where the time of a step goes; None in the other parts.
        memory: Peaks; None in the other parts, and then there are no comparisons.
    """

    name: str
    comparisons: Sequence[Comparison] = ()
    step: StepReport | None = None
    memory: MemoryReport | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        if self.memory is not None:
            return {"peaks": self.memory.to_json()}
        step = {} if self.step is None else self.step.to_json()
        return {"comparisons": [one.to_json() for one in self.comparisons]} | step


def conditions(work: Workload) -> dict[str, Any]:
    """Under which the numbers hold: a JSON object."""
    cpu = work.device.type == "cpu"
    return {
        "model": model_title(work.settings.model),
        "classes": work.num_classes,
        "size": list(work.size),
        "batch_labeled": work.settings.data.batch_labeled,
        "batch_unlabeled": work.batch,
        "files": list(work.files),
        "rounds": work.rounds,
        "device": _cpu() if cpu else torch.cuda.get_device_name(work.device),
        "threads": torch.get_num_threads(),
        "load": list(os.getloadavg()),
        "torch": torch.__version__,
    }


def _cpu() -> str:
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores"


def describe(work: Workload) -> str:
    """The conditions in a line, for people."""
    found = conditions(work)
    height, width = work.size
    return (
        f"{found['model']}, {work.num_classes} classes, {height}x{width}, batch "
        f"{found['batch_labeled']} + {found['batch_unlabeled']}; {found['device']}, "
        f"{found['threads']} threads, load {found['load'][0]:.1f}; {work.rounds} pairs in turn"
    )


def part_tables(report: PartReport) -> list[Table]:
    """The comparisons, and of a step the parts of its time; or the peaks of memory."""
    if report.memory is not None:
        return [_peaks(report.memory)]
    table = Table(
        title=report.name,
        caption="ms: median and half of what lies between the quartiles; ratio: transcription / "
        "mixseg, median of the pairs and quartiles; MiB: mixseg / transcription, most while it ran",
        caption_justify="left",
    )
    table.add_column("what", min_width=14)
    for heading in ("mixseg ms", "transcription ms", "ratio", "MiB"):
        table.add_column(heading, justify="right")
    for one in report.comparisons:
        low, high = quartiles(one.ratios)
        table.add_row(
            one.name,
            _milliseconds(one.own),
            _milliseconds(one.transcription),
            f"{one.ratio:.3g} ({low:.3g}-{high:.3g})",
            f"{_mebibytes(one.own_memory)} / {_mebibytes(one.transcription_memory)}",
        )
    return [table] if report.step is None else [table, _parts(report.step)]


def _parts(step: StepReport) -> Table:
    table = Table(
        title="where the time of a step goes",
        caption=f"{step.flops / 1e9:.1f} GFLOPs, at {100 * step.share:.0f} % of the speed that "
        f"this machine's matrix product has in {step.precision} ({step.peak / 1e9:.0f} GFLOPs/s)",
        caption_justify="left",
    )
    table.add_column("part")
    for heading in (f"mixseg {step.precision} ms", "%", "transcription fp32 ms", "%"):
        table.add_column(heading, justify="right")
    totals = [sum(parts.values()) for parts in (step.parts, step.transcription_parts)]
    for name in step.parts:
        row = [name]
        for parts, total in zip((step.parts, step.transcription_parts), totals, strict=True):
            row += [f"{1000 * parts[name]:.1f}", f"{100 * parts[name] / total:.0f}"]
        table.add_row(*row)
    return table


def _peaks(memory: MemoryReport) -> Table:
    table = Table(
        title="memory",
        caption="MiB: most that two steps had in use, in a process of their own, with all that it "
        "has imported; %: of the settings as they are",
        caption_justify="left",
    )
    table.add_column("what")
    wanted = memory.peaks[AS_SET]
    for height, width in wanted:
        table.add_column(f"{height}x{width} MiB", justify="right")
        table.add_column("%", justify="right")
    for name, found in memory.peaks.items():
        row = [name]
        for size, peak in found.items():
            row += [f"{peak / 2**20:.0f}", f"{100 * peak / wanted[size]:.0f}"]
        table.add_row(*row)
    return table


def _milliseconds(seconds: Sequence[float]) -> str:
    low, high = quartiles(seconds)
    return f"{1000 * statistics.median(seconds):.4g} ± {500 * (high - low):.2g}"


def _mebibytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 2**20:.3g}"
