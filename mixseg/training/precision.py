"""Device and arithmetic of a run; where its settings leave it open, what is faster here."""

from __future__ import annotations

import copy
import json
import logging
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixseg.distributed import by_first, of_first, own_gpu, share_of, world
from mixseg.errors import CheckpointError, ConfigError
from mixseg.files import read_json, write_atomically

LOG = logging.getLogger("mixseg")

PrecisionName = Literal["fp32", "bf16", "fp16"]

PRECISIONS: tuple[PrecisionName, ...] = ("fp32", "bf16", "fp16")

RECORD = "precision.json"
"""File of a run that tells what ``auto`` has chosen; on a CPU with the times that decided."""


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

    Nothing is measured, unlike in :func:`precision_of_run`: for tools that apply a network.
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
    """Most bytes in use so far: of the GPU's memory with torch's reserve, or of this process."""
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
    """Whether it may pay to measure this CPU in bf16, which is slow where it is emulated."""
    # Torch can ask x86 for the instructions; other CPUs have to be measured.
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return not x86 or has_amx() or bool(torch.cpu._is_avx512_bf16_supported())


def is_depthwise(model: nn.Module) -> bool:
    """Whether most larger than 1x1 convolutions are depthwise: slower in bf16 on CPUs."""
    spatial = [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > 1
    ]
    depthwise = [layer for layer in spatial if layer.groups == layer.in_channels > 1]
    return 2 * len(depthwise) > len(spatial)


def precision_in(run: Path, asked: str) -> PrecisionName | None:
    """The precision that a run has for its ``training.precision``; None where nothing tells."""
    if asked != "auto":
        return named_precision(asked)
    record = run / RECORD
    return read_precision(record) if record.is_file() else None


def precision_to_apply(run: Path, asked: str, device: torch.device, model: nn.Module) -> Precision:
    """What a network of a run is applied in, so that its scores are those of the run.

    Where the device lacks that arithmetic, as :func:`choose_precision` decides.
    """
    name = precision_in(run, asked)
    on_gpu = device.type == "cuda"
    there = {"fp32": True, "bf16": has_bf16_gpu() if on_gpu else has_bf16(), "fp16": on_gpu}
    return choose_precision(name if name and there[name] else "auto", device, model)


def read_precision(path: Path) -> PrecisionName:
    """The choice that a run has recorded; a CheckpointError if the file is damaged."""
    try:
        return named_precision(read_json(path)["precision"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: damaged; it tells in which precision ({', '.join(PRECISIONS)}) the run is. "
            'To go on in one of them, write {"precision": "fp32"} into it'
        ) from error


def named_precision(text: str) -> PrecisionName:
    """The precision of a name; a ValueError for any other text."""
    for name in PRECISIONS:
        if name == text:
            return name
    raise ValueError(f"{text!r} is no precision")


# What is faster here ------------------------------------------------------------------------------

Choose = Callable[[nn.Module, torch.device], Precision]
"""(network on its device, device) -> what it is trained in."""

Timings = Mapping[PrecisionName, Sequence[float]]
"""Precision -> seconds of each round; empty where the hardware decides."""

BUDGET = 3.0
"""Seconds after which no further round of measurements begins, once there are enough."""

LONGEST = 10.0
"""Seconds after which no round begins at all, as on a machine that is busy."""

FEWEST_ROUNDS, MOST_ROUNDS = 3, 9
"""Rounds after the one that warms up."""

PARTS = (1, 2, 4, 8)
"""What the sides of images may be divided by, so that slow steps are measured in the budget."""

SMALLEST_SIDE = 64
"""Pixels below which no side is made smaller."""

LEAST_GAIN = 0.1
"""Part of a step's time in fp32 that another precision has to save."""


def precision_of_run(
    asked: str,
    batch: int,
    size: tuple[int, int],
    recorded: Path | None = None,
    *,
    measure: bool = True,
) -> Choose:
    """How the precision of a run is chosen: by the first of several processes, and for good.

    With ``auto`` on a CPU, bf16 where the network is clearly faster in it on labeled batches of
    random images, else fp32; on a GPU as in :func:`choose_precision`.

    Args:
        asked: ``training.precision``.
        batch: Labeled images in a batch of all processes.
        size: Height and width of labeled images.
        recorded: File of the run that tells the choice, or gets it if it is not there.
        measure: False chooses by the hardware where nothing is recorded, as earlier versions did.
    """
    shape = (share_of(batch), 3, *size)

    def decide(model: nn.Module, device: torch.device) -> PrecisionName:
        if recorded is not None and recorded.is_file():
            return read_precision(recorded)
        seconds: Timings = {}
        if not measure or device.type == "cuda":
            name = choose_precision("auto", device, model).name
        else:
            name, seconds = _measured(model, shape)
        if recorded is not None:
            write_atomically(recorded, json.dumps({"precision": name, "seconds": dict(seconds)}))
        return name

    def choose(model: nn.Module, device: torch.device) -> Precision:
        if asked != "auto":
            return Precision(named_precision(asked), device)
        name = named_precision(of_first(by_first(lambda: decide(model, device)) or ""))
        on_gpu = device.type == "cuda"
        instead = "fp16" if on_gpu else "fp32"
        if (name == "bf16" and on_gpu and not has_bf16_gpu()) or (name == "fp16" and not on_gpu):
            raise ConfigError(
                f"the run is in {name}, which this machine's {device.type} does not have; go on in "
                f"another precision: --precision {instead} --allow-changes"
            )
        return Precision(name, device)

    return choose


def _measured(model: nn.Module, shape: tuple[int, ...]) -> tuple[PrecisionName, Timings]:
    if not has_bf16():
        LOG.info("precision fp32: this CPU has no bf16 arithmetic")
        return "fp32", {}
    seconds = step_times(model, shape, ("fp32", "bf16"))
    name = clearly_faster(seconds)
    why = "bf16 is not clearly faster here" if name == "fp32" else "clearly faster here"
    found = ", ".join(
        f"{one} {1000 * statistics.median(values):.0f} ms "
        f"({1000 * min(values):.0f} to {1000 * max(values):.0f})"
        for one, values in seconds.items()
        if values
    )
    times = found or "too slow to be timed"
    LOG.info(f"precision {name}: {why}; forward and backward pass: {times}")
    return name, seconds


def clearly_faster(
    seconds: Mapping[PrecisionName, Sequence[float]], than: PrecisionName = "fp32"
) -> PrecisionName:
    """The precision that timings speak for; ``than`` unless the gain is clear.

    Clear is a median that is over :data:`LEAST_GAIN` shorter, where the middle halves of the
    timings do not overlap: other processes lengthen a few timings, and rarely all of one precision.
    Fewer than :data:`FEWEST_ROUNDS` timings leave it in doubt.
    """
    if any(len(found) < FEWEST_ROUNDS for found in seconds.values()):
        return than
    quartiles = {
        name: statistics.quantiles(found, method="inclusive") for name, found in seconds.items()
    }
    first, median, _ = quartiles[than]
    clear = [
        name
        for name, (_, middle, third) in quartiles.items()
        if middle < (1 - LEAST_GAIN) * median and third < first
    ]
    return min(clear, key=lambda name: quartiles[name][1], default=than)


def step_times(
    model: nn.Module, shape: Sequence[int], names: Sequence[PrecisionName]
) -> dict[PrecisionName, list[float]]:
    """Seconds of a forward and a backward pass on a CPU, of each precision in turn.

    The rest of a step is the same in all of them, or forward passes again. Where the whole images,
    of shape (B, 3, H, W), would take longer than the budget, smaller ones are measured, unless the
    network refuses them. The network, its statistics and the global random state stay as they are.
    """
    trial = copy.deepcopy(model).train()
    found: dict[PrecisionName, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + LONGEST
    with torch.random.fork_rng(devices=[]):  # for dropout
        images = _affordable(trial, shape, names)
        enough = time.perf_counter() + BUDGET
        for number in range(MOST_ROUNDS):
            if time.perf_counter() > (enough if number >= FEWEST_ROUNDS else end):
                break
            for name in names:
                found[name].append(_seconds(trial, images, name))
    return found


# The largest images whose rounds stay in the budget; the network is warm for them.
def _affordable(model: nn.Module, shape: Sequence[int], names: Sequence[PrecisionName]) -> Tensor:
    whole, *others = (_images(shape, part) for part in PARTS)
    probe = others[-1]
    try:
        for _ in range(2):  # the first one includes what is done once
            seconds = sum(_seconds(model, probe, name) for name in names)
    except (RuntimeError, ValueError, AssertionError):  # as of a network for one size
        chosen = whole
    else:
        longest = BUDGET / (FEWEST_ROUNDS + 1) / seconds * probe.numel()
        chosen = next((one for one in (whole, *others) if one.numel() <= longest), probe)
    for name in names:
        _seconds(model, chosen, name)
    return chosen


def _images(shape: Sequence[int], part: int) -> Tensor:
    sides = shape[2:]
    if part > 1:  # backbones want multiples of 32
        sides = [min(side, max(SMALLEST_SIDE, side // part // 32 * 32)) for side in sides]
    return torch.rand(*shape[:2], *sides, generator=torch.Generator().manual_seed(0))


def _seconds(model: nn.Module, images: Tensor, name: PrecisionName) -> float:
    precision = Precision(name, images.device)
    labels = torch.zeros(images.shape[0], *images.shape[2:], dtype=torch.int64)
    started = time.perf_counter()
    with precision.autocast():
        logits: Tensor = model(images)
        loss = functional.cross_entropy(logits.float(), labels)
    precision.backward(loss)
    model.zero_grad(set_to_none=True)
    return time.perf_counter() - started
