"""The peak memory of a training step, with and without each thing that saves memory."""

from __future__ import annotations

import dataclasses
import math

from rich.console import Console
from rich.table import Table

from benchmarks.report import Report
from benchmarks.workload import Workload
from mixseg.analysis.costs import smaller
from mixseg.analysis.noise import NoiseRun
from mixseg.config.sections import Settings
from mixseg.config.values import Size
from mixseg.training import precision
from mixseg.training.precision import PrecisionName

SHARES = (0.25, 0.5, 1.0)
"""Areas that are measured, as shares of the area of the settings."""

AS_SET = "as set"
JOINT_FORWARD = "model.joint_forward"


def _precisions(settings: Settings) -> list[PrecisionName]:
    """Those with hardware support: emulated ones take minutes a step, and no run uses one unless
    its settings name it."""
    if precision.choose_device(settings.training.device).type == "cuda":
        return ["fp32", "bf16" if precision.has_bf16_gpu() else "fp16"]
    return ["fp32", "bf16"] if precision.has_bf16() else ["fp32"]


def levers(settings: Settings) -> dict[str, Settings]:
    """The settings as they are, and with one change each that the method allows."""
    model, training = settings.model, settings.training
    changes: dict[str, dict[str, object]] = {AS_SET: {}}
    precisions = _precisions(settings)
    if training.precision != "auto" or len(precisions) > 1:  # else auto can only be that one
        for name in precisions:
            if name != training.precision:
                changes[name] = {"training": dataclasses.replace(training, precision=name)}
    checkpointing = dataclasses.replace(model, activation_checkpointing=True)
    changes["activation checkpointing"] = {"model": checkpointing}
    if JOINT_FORWARD in settings.options:
        changes["joint forward"] = {"options": {**settings.options, JOINT_FORWARD: True}}
    return {
        name: dataclasses.replace(settings, **change)  # type: ignore[arg-type]
        for name, change in changes.items()
    }


def memory(work: Workload, console: Console) -> Report:
    """Measure each of :func:`levers` at three sizes.

    Raises:
        ConfigError: The network is not made of blocks.
        TrainingError: A step failed, as when there is too little memory.
    """
    whole = work.noise.sizes
    area = math.prod(work.size)
    peaks: dict[str, dict[Size, int]] = {}
    for name, changed in levers(work.settings).items():
        peaks[name] = {}
        for share in SHARES:
            sizes = smaller(whole, round(share * area))
            probe = NoiseRun(changed, work.noise.classes, sizes).measure_elsewhere()
            peaks[name][sizes["labeled"]] = probe.peak
    content = {
        name: {f"{height}x{width}": peak for (height, width), peak in found.items()}
        for name, found in peaks.items()
    }
    return Report([_table(peaks)], {"peaks": content})


def _table(peaks: dict[str, dict[Size, int]]) -> Table:
    table = Table(
        title="memory",
        caption="MiB: peak of two steps in a process of their own, with everything that it has "
        "imported; %: of the settings as they are",
        caption_justify="left",
    )
    table.add_column("what")
    wanted = peaks[AS_SET]
    for height, width in wanted:
        table.add_column(f"{height}x{width} MiB", justify="right")
        table.add_column("%", justify="right")
    for name, found in peaks.items():
        row = [name]
        for size, peak in found.items():
            row += [f"{peak / 2**20:.0f}", f"{100 * peak / wanted[size]:.0f}"]
        table.add_row(*row)
    return table
