"""Which precision a run takes when the settings leave it open."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch
from rich.console import Console
from torch import nn

from mixseg.config import Settings
from mixseg.distributed import by_first, of_first, share_of
from mixseg.engine.precision import (
    PRECISIONS,
    Precision,
    PrecisionName,
    choose_precision,
    has_bf16,
    has_bf16_gpu,
)
from mixseg.engine.run_directory import RunDirectory
from mixseg.engine.step_times import clearly_faster, step_times
from mixseg.errors import CheckpointError, ConfigError
from mixseg.files import read_json, write_atomically
from mixseg.terminal import say

Choose = Callable[[nn.Module, torch.device], Precision]
"""(network on its device, device) -> what it is trained in."""

ON_CPU: tuple[PrecisionName, ...] = ("fp32", "bf16")
"""What a CPU can do."""

Timings = Mapping[PrecisionName, Sequence[float]]
"""Precision -> seconds of each round."""

NOT_MEASURED: Timings = MappingProxyType({})
"""Of a precision that was chosen by the hardware."""


def precision_of_run(
    settings: Settings,
    size: tuple[int, int],
    console: Console,
    recorded: Path | None = None,
    *,
    measure: bool = True,
) -> Choose:
    """How a run comes to its precision.

    With ``auto`` on a CPU, bf16 where the network is clearly faster in it on labelled batches of
    random images, else fp32; on a GPU as in :func:`choose_precision`. A run keeps it for good, and
    of several processes the first one's is taken.

    Args:
        settings: Of one stage of the run.
        size: Height and width of labelled images.
        console: Where people read.
        recorded: File of the run that tells the choice, or gets it if it is not there; None keeps
            nothing.
        measure: False: where nothing is recorded, choose by the hardware, as a run of an earlier
            version did.
    """
    asked = settings.training.precision
    shape = (share_of(settings.data.batch_labeled), 3, *size)

    def decide(model: nn.Module, device: torch.device) -> PrecisionName:
        if recorded is not None and recorded.is_file():
            return read_precision(recorded)
        if not measure or device.type == "cuda":
            name, seconds = choose_precision("auto", device, model).name, NOT_MEASURED
        else:
            name, seconds = _measured(model, shape, console)
        if recorded is not None:
            write_atomically(recorded, json.dumps({"precision": name, "seconds": dict(seconds)}))
        return name

    def choose(model: nn.Module, device: torch.device) -> Precision:
        if asked != "auto":
            return choose_precision(asked, device, model)
        name = _named(of_first(by_first(lambda: decide(model, device)) or ""))
        on_gpu = device.type == "cuda"
        instead = "fp16" if on_gpu else "fp32"
        if (name == "bf16" and on_gpu and not has_bf16_gpu()) or (name == "fp16" and not on_gpu):
            raise ConfigError(
                f"the run is in {name}, which this machine's {device.type} does not have; go on in "
                f"another precision: --precision {instead} --allow-changes"
            )
        return Precision(name, device)

    return choose


def _measured(
    model: nn.Module, shape: tuple[int, ...], console: Console
) -> tuple[PrecisionName, Timings]:
    """The one that is clearly faster on this CPU, else fp32; and what both took."""
    if not has_bf16():
        say(console, "precision fp32: this CPU has no bf16 arithmetic")
        return "fp32", NOT_MEASURED
    seconds = step_times(model, shape, ON_CPU)
    name = clearly_faster(seconds)
    why = "bf16 is not clearly faster here" if name == "fp32" else "clearly faster here"
    found = ", ".join(
        f"{one} {1000 * statistics.median(values):.0f} ms "
        f"({1000 * min(values):.0f} to {1000 * max(values):.0f})"
        for one, values in seconds.items()
        if values
    )
    times = found or "too slow to be timed"
    say(console, f"precision {name}: {why}; forward and backward pass: {times}")
    return name, seconds


def precision_in(run: Path, asked: str) -> PrecisionName | None:
    """What a run is trained and validated in; None where ``auto`` has not been decided or the
    folder does not tell.

    Args:
        run: Its folder.
        asked: Its ``training.precision``.

    Raises:
        CheckpointError: Its record is damaged.
    """
    if asked != "auto":
        return _named(asked)
    record = RunDirectory(run, lock=False).precision
    return read_precision(record) if record.is_file() else None


def precision_to_apply(run: Path, asked: str, device: torch.device, model: nn.Module) -> Precision:
    """What a network of a run is applied in, so that its scores are those of the run.

    Where the device lacks that arithmetic, as :func:`choose_precision` decides.

    Args:
        run: See :func:`precision_in`.
        asked: See :func:`precision_in`.
        device: On which the network is.
        model: The network.

    Raises:
        CheckpointError: See :func:`precision_in`.
    """
    name = precision_in(run, asked)
    on_gpu = device.type == "cuda"
    there = {"fp32": True, "bf16": has_bf16_gpu() if on_gpu else has_bf16(), "fp16": on_gpu}
    return choose_precision(name if name and there[name] else "auto", device, model)


def read_precision(path: Path) -> PrecisionName:
    """The choice that a run has recorded.

    Raises:
        CheckpointError: The file is damaged.
    """
    try:
        return _named(read_json(path)["precision"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: damaged; it tells in which precision ({', '.join(PRECISIONS)}) the run is. "
            'To go on in one of them, write {"precision": "fp32"} into it'
        ) from error


def _named(text: str) -> PrecisionName:
    for name in PRECISIONS:
        if name == text:
            return name
    raise ValueError(f"{text!r} is no precision")
