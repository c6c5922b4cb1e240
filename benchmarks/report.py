"""Measurements as tables for the terminal and as JSON."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from rich.table import Table

from benchmarks.measure import Comparison, quartiles
from benchmarks.workload import Workload
from mixseg.models import model_title


@final
@dataclass(frozen=True)
class Report:
    """What was measured of one part: tables, and the numbers as a JSON object."""

    tables: Sequence[Table]
    content: dict[str, Any]


def conditions(work: Workload) -> dict[str, Any]:
    """The conditions under which the numbers hold, as a JSON object."""
    cpu = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores"
    on_cpu = work.device.type == "cpu"
    return {
        "model": model_title(work.settings.model),
        "classes": work.num_classes,
        "size": list(work.size),
        "batch_labeled": work.settings.data.batch_labeled,
        "batch_unlabeled": work.batch,
        "files": list(work.files),
        "rounds": work.rounds,
        "device": cpu if on_cpu else torch.cuda.get_device_name(work.device),
        "threads": torch.get_num_threads(),
        "load": list(os.getloadavg()),
        "torch": torch.__version__,
    }


def describe(found: dict[str, Any]) -> str:
    """The conditions in a line, for people."""
    height, width = found["size"]
    return (
        f"{found['model']}, {found['classes']} classes, {height}x{width}, batch "
        f"{found['batch_labeled']} + {found['batch_unlabeled']}; {found['device']}, "
        f"{found['threads']} threads, load {found['load'][0]:.1f}; {found['rounds']} pairs in turn"
    )


def report_of(name: str, comparisons: Sequence[Comparison]) -> Report:
    """The report of a part that compares both forms."""
    table = Table(
        title=name,
        caption="ms: median and half of the distance between the quartiles; ratio: transcription / "
        "mixseg, median of the pairs and quartiles; MiB: mixseg / transcription, peak while it ran",
        caption_justify="left",
    )
    table.add_column("what", min_width=14)
    for heading in ("mixseg ms", "transcription ms", "ratio", "MiB"):
        table.add_column(heading, justify="right")
    for one in comparisons:
        low, high = quartiles(one.ratios)
        table.add_row(
            one.name,
            _milliseconds(one.own),
            _milliseconds(one.transcription),
            f"{one.ratio:.3g} ({low:.3g}-{high:.3g})",
            f"{_mebibytes(one.own_memory)} / {_mebibytes(one.transcription_memory)}",
        )
    return Report([table], {"comparisons": [one.to_json() for one in comparisons]})


def _milliseconds(seconds: Sequence[float]) -> str:
    low, high = quartiles(seconds)
    return f"{1000 * statistics.median(seconds):.4g} ± {500 * (high - low):.2g}"


def _mebibytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 2**20:.3g}"
