"""The memory that a run will need, from two real training steps of it on small noise.

What a step holds is of two kinds: weights, gradients, optimizer state and the interpreter, which do
not depend on the images, and activations, which grow with their number of pixels. Both are in the
peaks of the same step at two sizes, and a line through them gives the peak at any other. The steps
run in a process of their own, so that a run that does not fit takes nothing else with it.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

from torch import Tensor

from mixseg.analysis.model_profile import (
    random_batches,
    synthetic_inputs,
    training_step,
    wait_for,
)
from mixseg.config import Settings, dump_settings, resolve_settings
from mixseg.data.arrays import Size
from mixseg.data.contract import ClassSet
from mixseg.data.registry import CLASSES
from mixseg.errors import ConfigError, TrainingError
from mixseg.terminal import complain
from mixseg.training.build import build_learner
from mixseg.training.checks import check_settings
from mixseg.training.data import TrainingData, open_training_data, streams_of, training_size
from mixseg.training.optimizer_state import optimizer_state
from mixseg.training.precision import peak_memory
from mixseg.training.stages import of_one_stage

PROBED_AREAS = (256 * 256, 384 * 384)
"""Pixels of the larger images in the two measured steps; smaller images are measured as they are.

Below them the allocator's own overhead is as large as what is to be measured."""

STEPS = 2
"""Steps that are taken: the optimizer's state is there from the second one on."""

REFUSED = 3
"""Exit code of the process that measures, where the settings are at fault."""

CUDA_CONTEXT = 2**29
"""Bytes that CUDA and its libraries take of a GPU beside what torch hands out, roughly."""


class Probe(NamedTuple):
    """What two steps have shown.

    Attributes:
        peak: Most bytes in use, of the GPU or of the process.
        checkpoint: Bytes of the tensors of a checkpoint.
        best: Bytes of the checkpoints of the best networks, all together.
    """

    peak: int
    checkpoint: int
    best: int


@final
@dataclass(frozen=True)
class Needs:
    """What a run will take.

    Attributes:
        memory: Peak of the training process in bytes, on the GPU or in main memory.
        measured: Pixels of a step -> measured peak in bytes.
        pixels: Pixels of a step of the run.
        checkpoint: Bytes of a checkpoint.
        disk: Bytes of all checkpoints that lie in the run's folder at once.
    """

    memory: int
    measured: Mapping[int, int]
    pixels: int
    checkpoint: int
    disk: int

    @property
    def is_measured(self) -> bool:
        """Whether the memory was measured at the run's own size."""
        return self.pixels in self.measured


def estimate_needs(settings: Settings) -> Needs:
    """What the run that the settings describe will take.

    The data are opened only where the settings do not say how large images are.

    Args:
        settings: Of a run; of its stages the last one counts.

    Raises:
        ConfigError: A name is unknown, or it is not said where data are.
        DataError: The data are opened, and not as they should be.
        TrainingError: The measured steps failed, with the last line of what they said.
    """
    settings = of_one_stage(settings, -1)
    check_settings(settings)
    streams = streams_of(settings)
    data: TrainingData | None = None
    try:
        sizes = {name: training_size(settings, name, None) for name in streams}
    except ConfigError:
        data = open_training_data(settings)
        sizes = {name: training_size(settings, name, data) for name in streams}
    if data is None and settings.data.dataset not in CLASSES:
        data = open_training_data(settings)
    classes = CLASSES[settings.data.dataset] if data is None else data.classes
    pixels = _pixels(settings, sizes)
    measured = {}
    for area in PROBED_AREAS:
        small = smaller(sizes, area)
        if _pixels(settings, small) in measured:
            continue
        try:
            probe = measure_elsewhere(settings, small, classes, sizes.values())
        except ConfigError:  # the network takes no images of that size; of the run's own it may
            probe = measure_elsewhere(settings, small := sizes, classes)
        measured[_pixels(settings, small)] = probe.peak
    return Needs(
        extrapolated(measured, pixels),
        measured,
        pixels,
        probe.checkpoint,
        # A better network is written beside those that the kept checkpoints would go back to.
        (settings.checkpoints.keep + 1) * probe.best
        + checkpoints_at_once(settings) * probe.checkpoint,
    )


def checkpoints_at_once(settings: Settings) -> int:
    """Most checkpoints that a run's folder holds at a time, the one being written among them."""
    kept, steps = settings.checkpoints, settings.training.iterations
    for_good = steps // kept.keep_every if kept.keep_every else 0
    return min(kept.keep + 1 + for_good, 1 + math.ceil(steps / kept.every))


def smaller(sizes: Mapping[str, Size], area: int) -> dict[str, Size]:
    """Sizes of the same form whose largest has about an area, by the strides of any network.

    Args:
        sizes: Name of a stream -> height and width.
        area: In pixels; sizes that are not larger stay as they are.
    """
    largest = max(height * width for height, width in sizes.values())
    if largest <= area:
        return dict(sizes)
    factor = math.sqrt(area / largest)

    def scaled(length: int) -> int:
        return max(32, 32 * round(length * factor / 32))

    return {name: (scaled(height), scaled(width)) for name, (height, width) in sizes.items()}


def extrapolated(measured: Mapping[int, int], pixels: int) -> int:
    """The peak at a number of pixels: as measured, or on the line through two measured ones."""
    if pixels in measured:
        return measured[pixels]
    (first, low), (second, high) = sorted(measured.items())
    # Noise of the allocator must not make larger images cheaper.
    slope = max(0.0, (high - low) / (second - first))
    return round(high + slope * (pixels - second))


def _pixels(settings: Settings, sizes: Mapping[str, Size]) -> int:
    counts = {"labeled": settings.data.batch_labeled, "unlabeled": settings.data.batch_unlabeled}
    return sum(counts[name] * height * width for name, (height, width) in sizes.items())


def measure_elsewhere(
    settings: Settings,
    sizes: Mapping[str, Size],
    classes: ClassSet,
    whole: Iterable[Size] = (),
) -> Probe:
    """Take the steps in another process.

    Args:
        settings: Of a run without stages.
        sizes: Name of a stream -> height and width of its images.
        classes: That the network tells apart.
        whole: Sizes of the run's own images, which the network has to take too.

    Raises:
        ConfigError: The network takes no images of these sizes.
        TrainingError: The steps failed, with the last line of what they said.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(dump_settings(settings), encoding="utf-8")
        request = {"sizes": sizes, "whole": [*whole], "names": classes.names}
        request |= {"palette": classes.palette}
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(config), json.dumps(request)],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == REFUSED:
        raise ConfigError(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        said = done.stderr.strip().splitlines()
        shown = " and ".join("x".join(map(str, size)) for size in sizes.values())
        raise TrainingError(
            f"a training step on images of {shown} failed: "
            + (said[-1] if said else f"exit code {done.returncode}; out of memory?")
        )
    return Probe(**json.loads(done.stdout.splitlines()[-1]))


def _measure(
    settings: Settings, sizes: Mapping[str, Size], classes: ClassSet, whole: Iterable[Size]
) -> Probe:
    """Take the steps in this process, which has done nothing else."""
    inputs = synthetic_inputs(settings, classes)
    learner, _ = build_learner(
        settings, len(classes), inputs, download=False, sizes=(*sizes.values(), *whole)
    )
    device = learner.precision.device
    advance = training_step(learner, settings, random_batches(settings, sizes, len(classes)))
    for step in range(STEPS):
        advance(step)
    wait_for(device)
    networks = {name: _bytes(net.state_dict()) for name, net in learner.method.networks.items()}
    state = _bytes(optimizer_state(learner.optimizer)[1]) + _bytes(learner.method.state)
    state += sum(_bytes(one.state()[1]) for one in learner.regularizers)
    best = sum(networks.values())
    own = CUDA_CONTEXT if device.type == "cuda" else 0
    return Probe(peak_memory(device) + own, best + state, best)


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _main(arguments: Sequence[str]) -> None:
    config, request = arguments
    content = json.loads(request)
    classes = ClassSet(tuple(content["names"]), tuple((r, g, b) for r, g, b in content["palette"]))
    sizes = {name: (height, width) for name, (height, width) in content["sizes"].items()}
    settings = resolve_settings([Path(config)], {})
    try:
        whole = [(height, width) for height, width in content["whole"]]
        print(json.dumps(_measure(settings, sizes, classes, whole)._asdict()))
    except ConfigError as error:
        complain(str(error))
        sys.exit(REFUSED)


if __name__ == "__main__":
    _main(sys.argv[1:])
