"""What a training step has in use at most, with and without each thing that saves memory."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, final

from mixseg.analysis.costs import smaller
from mixseg.benchmark.workload import Workload
from mixseg.config import Settings
from mixseg.data.arrays import Size
from mixseg.data.registry import CLASSES
from mixseg.engine.precision import PrecisionName, choose_device, has_bf16, has_bf16_gpu
from mixseg.methods import METHODS
from mixseg.terminal import new_console
from mixseg.training.on_noise import NoiseRun

SHARES = (0.25, 0.5, 1.0)
"""Areas that are measured, as parts of that of the settings."""

AS_SET = "as set"


@final
@dataclass(frozen=True)
class MemoryReport:
    """Peaks of two steps in a process of their own.

    Attributes:
        peaks: What was changed -> (height, width) -> bytes, of the GPU or of the whole process.
    """

    peaks: Mapping[str, Mapping[Size, int]]

    def to_json(self) -> dict[str, Any]:
        """A JSON object; sizes as ``HEIGHTxWIDTH``."""
        return {
            name: {f"{height}x{width}": peak for (height, width), peak in found.items()}
            for name, found in self.peaks.items()
        }


def _precisions(settings: Settings) -> list[PrecisionName]:
    """Those with hardware support: emulated ones take minutes a step, and no run uses one unless
    its settings name it."""
    if choose_device(settings.training.device).type == "cuda":
        return ["fp32", "bf16" if has_bf16_gpu() else "fp16"]
    return ["fp32", "bf16"] if has_bf16() else ["fp32"]


def levers(settings: Settings) -> dict[str, Settings]:
    """The settings as they are, and with one thing changed each that the method knows."""
    model, training = settings.model, settings.training
    changes: dict[str, dict[str, object]] = {AS_SET: {}}
    precisions = _precisions(settings)
    if training.precision != "auto" or len(precisions) > 1:  # else auto can only be that one
        for name in precisions:
            if name != training.precision:
                changes[name] = {"training": dataclasses.replace(training, precision=name)}
    changes["activation checkpointing"] = {
        "model": dataclasses.replace(model, activation_checkpointing=True)
    }
    if METHODS[settings.method].mixes_unlabeled:
        changes["joint forward"] = {"model": dataclasses.replace(model, joint_forward=True)}
    return {
        name: dataclasses.replace(settings, **change)  # type: ignore[arg-type]
        for name, change in changes.items()
    }


def measure_memory(work: Workload) -> MemoryReport:
    """Measure each, at three sizes.

    Raises:
        ConfigError: The network is not made of blocks.
        TrainingError: A step failed, as when there is too little memory.
    """
    settings = work.settings
    streams = METHODS[settings.method].streams_of(settings)
    whole = dict.fromkeys(streams, work.size)
    area = math.prod(work.size)
    classes = CLASSES[settings.data.dataset]
    peaks: dict[str, Mapping[Size, int]] = {}
    for name, changed in levers(settings).items():
        found = {}
        for share in SHARES:
            sizes = smaller(whole, round(share * area))
            run = NoiseRun(changed, classes, sizes, new_console(quiet=True))
            found[sizes[streams[0]]] = run.measure_elsewhere().peak
        peaks[name] = MappingProxyType(found)
    return MemoryReport(MappingProxyType(peaks))
