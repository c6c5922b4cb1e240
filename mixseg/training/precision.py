"""Device and arithmetic of a run."""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Literal, final

import torch
from torch import Tensor, nn

from mixseg.distributed import own_gpu, world
from mixseg.errors import CheckpointError, ConfigError
from mixseg.files import read_json


def choose_device(name: str) -> torch.device:
    """``auto`` takes the GPU where there is one; each of several processes takes its own.

    Raises:
        ConfigError: The device is unknown or not there.
    """
    if name == "auto":
        return own_gpu() if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"training.device {name!r} is not a device; use auto, cpu or cuda"
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"training.device {name!r} is not supported; use auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"training.device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices"
        )
    if str(device) == "cuda":
        return own_gpu()
    if device.type == "cuda":
        if world().size > 1:
            raise ConfigError(
                f"training.device {name!r}: each of {world().size} processes takes a GPU of its "
                "own; use auto or cuda, and CUDA_VISIBLE_DEVICES to leave some out"
            )
        torch.cuda.set_device(device)  # for code that uses the current device
    return device


PrecisionName = Literal["fp32", "bf16", "fp16"]

PRECISIONS: tuple[PrecisionName, ...] = ("fp32", "bf16", "fp16")


@final
class Precision:
    """Autocast and, for fp16, the gradient scaler.

    Weights, losses and the teacher's average stay in float32 in every case.
    """

    def __init__(self, name: PrecisionName, device: torch.device) -> None:
        if name == "fp16" and device.type == "cpu":
            raise ConfigError("training.precision fp16 needs a GPU; use bf16 or fp32 on a CPU")
        self.name = name
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss, scaled where the precision needs it."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def autocast(self) -> AbstractContextManager[object]:
        """Context of a forward pass."""
        if self.name == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype)


def choose_precision(
    name: Literal["auto", "fp32", "bf16", "fp16"], device: torch.device, model: nn.Module
) -> Precision:
    """``auto`` takes bf16 where the hardware multiplies it fast, fp16 on older GPUs, else fp32.

    Nothing is measured: for tools that apply a network. A run on a CPU measures; see
    :func:`mixseg.training.precision_choice.precision_of_run`.
    """
    if name != "auto":
        return Precision(name, device)
    if device.type == "cuda":
        return Precision("bf16" if has_bf16_gpu() else "fp16", device)
    return Precision("bf16" if has_amx() and not is_depthwise(model) else "fp32", device)


@contextmanager
def any_sizes() -> Iterator[None]:
    """For images of many sizes: cuDNN does not look for the fastest algorithms of each."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def peak_memory(device: torch.device) -> int:
    """Most bytes in use so far: of the GPU's memory, torch's reserve included, or of this process
    on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    # getrusage counts what the process that started this one had in use before.
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def has_bf16_gpu() -> bool:
    """Whether the current GPU has bf16 arithmetic; torch emulates it on older ones."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def has_amx() -> bool:
    """Whether this CPU has tile registers for bf16 matrices."""
    # Without them bf16 is emulated, or gains less than the conversions cost.
    return bool(torch.cpu._is_amx_tile_supported())


def has_bf16() -> bool:
    """Whether it may pay to measure this CPU in bf16.

    Without instructions for it bf16 is emulated, many times slower. Torch can ask x86 for them;
    other CPUs have to be measured.
    """
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return not x86 or has_amx() or bool(torch.cpu._is_avx512_bf16_supported())


def is_depthwise(model: nn.Module) -> bool:
    """Whether most 3x3 and larger convolutions are depthwise; those are slower in bf16 on CPUs."""
    spatial = [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > 1
    ]
    depthwise = [layer for layer in spatial if layer.groups == layer.in_channels > 1]
    return 2 * len(depthwise) > len(spatial)


RECORD = "precision.json"
"""File of a run that tells what ``auto`` has chosen; on a CPU with the times that decided."""


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
        return named_precision(asked)
    record = run / RECORD
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
        return named_precision(read_json(path)["precision"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: damaged; it tells in which precision ({', '.join(PRECISIONS)}) the run is. "
            'To go on in one of them, write {"precision": "fp32"} into it'
        ) from error


def named_precision(text: str) -> PrecisionName:
    """Raise a ValueError for a name that is no precision."""
    for name in PRECISIONS:
        if name == text:
            return name
    raise ValueError(f"{text!r} is no precision")
