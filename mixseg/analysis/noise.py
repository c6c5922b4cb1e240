"""Training steps of a run on noise in place of images, in this process or in another.

A step costs the same whatever its images show, so neither data nor ImageNet weights are needed to
measure one. In another process, a step that does not fit into memory ends nothing else, and the
peak is that of the step.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from mixseg.config.effect import asked_of_run
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.config.values import Size
from mixseg.data.contract import ClassSet
from mixseg.data.layout import classes_of
from mixseg.data.streams import Batch
from mixseg.errors import ConfigError, TrainingError
from mixseg.ignore import IGNORE
from mixseg.randomness import generator
from mixseg.terminal import complain
from mixseg.training.build import Given, build_learner
from mixseg.training.data import RunData, TrainingData
from mixseg.training.loop import Learner
from mixseg.training.optimizers import optimizer_state
from mixseg.training.precision import peak_memory, precision_of_run
from mixseg.training.stages import of_one_stage
from mixseg.training.teachers import find_teacher, fixed_teacher

STEPS = 2
"""Steps in the other process: the optimizer's state is there from the second one on."""

REFUSED = 3
"""Exit code of the other process where the settings are at fault."""

CUDA_CONTEXT = 2**29
"""Bytes that CUDA and its libraries take of a GPU beside what torch hands out, roughly."""

Advance = Callable[[int], None]
"""Takes the training step of a number, counted from 0."""


class Probe(NamedTuple):
    """What two steps have shown, in bytes: the peak of the GPU or of the process, the tensors of a
    checkpoint, and the checkpoints of the best networks, all together."""

    peak: int
    checkpoint: int
    best: int


@final
@dataclass(frozen=True)
class NoiseRun:
    """The last stage of a run on noise: settings, classes, and size of the images of a stream."""

    settings: Settings
    classes: ClassSet
    sizes: Mapping[str, Size]

    @classmethod
    def of(cls, settings: Settings, data: TrainingData | None) -> NoiseRun:
        """The run that settings describe; without its data, as far as the settings tell.

        Raises:
            ConfigError: Only the data could tell the classes or the size of the images.
        """
        settings = of_one_stage(settings, -1)
        opener = RunData(settings)
        sizes = {name: opener.size(name, data) for name in opener.streams}
        classes = classes_of(settings.data.dataset) if data is None else data.classes
        if classes is None:
            raise ConfigError(f"the classes of {settings.data.dataset} are not known without data")
        return cls(settings, classes, sizes)

    @property
    def counts(self) -> dict[str, int]:
        """Name of a stream -> images in a batch."""
        return {name: self.settings.data.batches[name] for name in self.sizes}

    @property
    def pixels(self) -> int:
        """Pixels of all images of a step."""
        return sum(
            self.counts[name] * height * width for name, (height, width) in self.sizes.items()
        )

    def at(self, sizes: Mapping[str, Size]) -> NoiseRun:
        """The same run with images of other sizes."""
        return dataclasses.replace(self, sizes=sizes)

    @functools.cached_property
    def inputs(self) -> Given:
        """Stand-ins that cost as much as what the data of a run would give its method."""
        # Any distribution costs the same.
        even = torch.full((len(self.classes),), 1 / len(self.classes))
        aligned = self.settings.targets.alignment != "none"
        asked = asked_of_run(to_flat(self.settings))
        teacher = find_teacher(to_flat(self.settings))
        return Given(
            distribution=even if aligned else None,
            frequencies=even if "class_shares" in asked else None,
            related=torch.eye(len(even)) > 0 if "related" in asked else None,
            class_names=self.classes.names,
            teacher=None if teacher is None else fixed_teacher(teacher, self.classes),
        )

    def learner(
        self, whole: Iterable[Size] = (), *, regularized: bool = True, choose: bool = False
    ) -> tuple[Learner, Advance]:
        """A learner, and a function that takes its training step on the same batches each time.

        Args:
            whole: Further sizes of images that the network has to take.
            regularized: False leaves the regularizer out.
            choose: Choose the precision as a run does, which takes time where it is ``auto``.

        Raises:
            ConfigError: The network takes no images of these sizes.
        """
        settings = self.settings
        if not regularized:
            settings = dataclasses.replace(settings, regularizer="none")
        count, size = settings.data.batch_labeled, self.sizes["labeled"]
        learner, _ = build_learner(
            settings,
            len(self.classes),
            self.inputs,
            download=False,
            choose=precision_of_run(settings.training.precision, count, size) if choose else None,
            sizes=(*self.sizes.values(), *whole),
        )
        batches = random_batches(settings.seed, self.counts, self.sizes, len(self.classes))
        return learner, training_step(learner, batches, settings.training.accumulate)

    def measure_elsewhere(self, whole: Iterable[Size] = ()) -> Probe:
        """Take two steps in another process; ``whole`` as for :meth:`learner`.

        Raises:
            ConfigError: The network takes no images of these sizes.
            TrainingError: The steps failed, with the last line of what they said.
        """
        request = (self.settings, self.classes, dict(self.sizes), tuple(whole))
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=pickle.dumps(request),
            capture_output=True,
            check=False,
        )
        said = done.stderr.decode(errors="replace").strip().splitlines()
        if done.returncode == REFUSED:
            raise ConfigError(said[-1])
        if done.returncode:
            shown = " and ".join("x".join(map(str, size)) for size in self.sizes.values())
            raise TrainingError(
                f"a training step on images of {shown} failed: "
                + (said[-1] if said else f"exit code {done.returncode}; out of memory?")
            )
        return Probe(*json.loads(done.stdout.splitlines()[-1]))


def training_step(learner: Learner, batches: Mapping[str, Batch], accumulate: int) -> Advance:
    """A function that takes a training step on the same batches each time."""
    learner.method.student.train()

    def advance(step: int) -> None:
        gradients = learner.gradients([batches] * accumulate, step)
        float(gradients.norm)  # the trainer looks at it
        learner.update(step)

    return advance


def random_batches(
    seed: int, counts: Mapping[str, int], sizes: Mapping[str, Size], num_classes: int
) -> dict[str, Batch]:
    """A batch of noise for each stream, by the number and size of its images."""
    random = generator(seed, "profile")
    batches = {}
    for name, size in sizes.items():
        count = counts[name]
        labels = torch.full((count, *size), IGNORE, dtype=torch.uint8)
        if name != "unlabeled":
            labels.random_(0, num_classes, generator=random)
        batches[name] = Batch(
            torch.randint(256, (count, 3, *size), generator=random, dtype=torch.uint8),
            labels,
            torch.ones(count, *size, dtype=torch.bool),
            tuple(f"noise-{index}" for index in range(count)),
        )
    return batches


def wait_for(device: torch.device) -> None:
    """Wait until a device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _measure(run: NoiseRun, whole: Iterable[Size]) -> Probe:
    learner, advance = run.learner(whole)
    device = learner.precision.device
    for step in range(STEPS):
        advance(step)
    wait_for(device)
    best = sum(_bytes(network.state_dict()) for network in learner.method.networks.values())
    state = _bytes(optimizer_state(learner.optimizer)[1]) + _bytes(learner.method.state)
    state += sum(_bytes(one.state()[1]) for one in learner.regularizers)
    own = CUDA_CONTEXT if device.type == "cuda" else 0
    return Probe(peak_memory(device) + own, best + state, best)


def _main() -> None:
    settings, classes, sizes, whole = pickle.loads(sys.stdin.buffer.read())  # of measure_elsewhere
    try:
        print(json.dumps(_measure(NoiseRun(settings, classes, sizes), whole)))
    except ConfigError as error:
        complain(str(error))
        sys.exit(REFUSED)


if __name__ == "__main__":
    _main()
