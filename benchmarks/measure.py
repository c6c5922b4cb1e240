"""Two ways to do the same thing, measured in turn: time, and memory while one runs."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from mixseg.analysis.noise import wait_for

Action = Callable[[], object]


@final
@dataclass(frozen=True)
class Comparison:
    """Measurements of one thing done in two ways, pair by pair.

    Attributes:
        name: The thing that was done.
        own: Seconds of mixseg's form, one number for each pair.
        transcription: Seconds of the transcription, in the same order.
        own_memory: Peak memory of mixseg's form in bytes, beyond what was in use before; None where
            the machine does not say.
        transcription_memory: The same for the transcription.
    """

    name: str
    own: tuple[float, ...]
    transcription: tuple[float, ...]
    own_memory: int | None
    transcription_memory: int | None

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times as long the transcription took, pair by pair."""
        return tuple(slow / fast for slow, fast in zip(self.transcription, self.own, strict=True))

    @property
    def ratio(self) -> float:
        """Median of the ratios: a disturbance affects both halves of a pair."""
        return statistics.median(self.ratios)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; seconds and bytes as they are."""
        return {
            "name": self.name,
            "seconds": list(self.own),
            "transcription_seconds": list(self.transcription),
            "ratio": self.ratio,
            "ratio_quartiles": quartiles(self.ratios),
            "peak_memory": self.own_memory,
            "transcription_peak_memory": self.transcription_memory,
        }


def compare(
    name: str, own: Action, transcription: Action, device: torch.device, rounds: int
) -> Comparison:
    """Run both in turn: once to warm up, once for the memory, then ``rounds`` timed pairs."""
    for action in (own, transcription):
        action()
    memory = [memory_growth(action, device) for action in (own, transcription)]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for action, seconds in zip((own, transcription), times, strict=True):
            seconds.append(duration(action, device))
    return Comparison(name, tuple(times[0]), tuple(times[1]), memory[0], memory[1])


def duration(action: Action, device: torch.device) -> float:
    """Seconds until a device has finished an action."""
    wait_for(device)
    started = time.perf_counter()
    action()
    wait_for(device)
    return time.perf_counter() - started


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The lower and the upper quartile."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of the fastest of five products of large square matrices.

    On GPUs float32 is multiplied as in convolutions, in TF32 where that is allowed.
    """
    side = 8192 if device.type == "cuda" else 1536
    random = torch.Generator(device=device).manual_seed(0)
    one = torch.rand(side, side, generator=random, device=device).to(dtype)
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        return 2 * side**3 / min(duration(lambda: one @ one, device) for _ in range(5))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def operations(action: Action) -> int:
    """Operations of the convolutions and matrix products of an action, by torch's counter.

    A multiplication and an addition are two. For grouped convolutions torch counts the gradient of
    the weights once for every group; here it is counted once.
    """
    formulas = {torch.ops.aten.convolution_backward: _operations_of_gradients}
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        action()
    total: int = counter.get_total_flops()
    return total


def _operations_of_gradients(
    out_gradient: Sequence[int],
    images: Sequence[int],
    weight: Sequence[int],
    _bias: object,
    _stride: object,
    _padding: object,
    _dilation: object,
    transposed: bool,
    _output_padding: object,
    _groups: object,
    wanted: Sequence[bool],
    **_: object,
) -> int:
    """Each gradient takes as many operations as the convolution itself; biases are not counted."""
    once = conv_flop_count(list(images), list(weight), list(out_gradient), transposed)
    return once * sum(wanted[:2])


# Memory ----------------------------------------------------------------------------------------


def memory_growth(action: Action, device: torch.device) -> int | None:
    """Peak memory in bytes while an action runs, beyond what was in use before.

    On a CPU it is the memory of the process, so that SciPy's arrays and scratch space of libraries
    count too; None where the system does not say (only Linux does).
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        action()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        _give_back_free_memory()
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = _status("VmRSS")
    except (OSError, AttributeError):
        action()
        return None
    action()
    return max(0, _status("VmHWM") - before)


def _give_back_free_memory() -> None:
    # Memory that the allocator keeps for later would hide what the action takes.
    ctypes.CDLL(None).malloc_trim(0)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return 1024 * int(value.split()[0])
    raise OSError(f"/proc/self/status has no {field}")


# Parts of one action ---------------------------------------------------------------------------


@final
class Stopwatch:
    """Time of named parts; a nested part does not count for the outer one."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block as part ``name``."""
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def watch(self, owner: object, method: str, name: str | Callable[[], str]) -> None:
        """Count every call of a method as a part.

        Args:
            owner: The object whose method is replaced.
            method: Name of the attribute.
            name: Name of the part, or a function that returns it at each call.
        """
        plain = getattr(owner, method)

        def watched(*arguments: Any, **keywords: Any) -> Any:
            with self.part(name if isinstance(name, str) else name()):
                return plain(*arguments, **keywords)

        setattr(owner, method, watched)

    def _turn(self) -> None:
        """Add the time since the last turn to the open part."""
        wait_for(self.device)
        now = time.perf_counter()
        if self._open:
            name = self._open[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now
