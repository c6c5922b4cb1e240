"""The workload: networks, sizes and batches of the settings, with made-up data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional

from mixseg.analysis.noise import NoiseRun
from mixseg.config.sections import Settings
from mixseg.config.values import Size
from mixseg.errors import ConfigError
from mixseg.ignore import IGNORE
from mixseg.models import SegmentationModel, build_initial_model, check_model_settings
from mixseg.randomness import generator
from mixseg.registry import Registry
from mixseg.training.precision import choose_device

SMALLEST_FILE = 16
"""Smallest side of an image file in pixels: it has 16 patches of classes along each side."""


@final
@dataclass(frozen=True)
class Workload:
    """Sizes and settings of a benchmark.

    Attributes:
        noise: The last stage of the run that the settings describe.
        device: Where everything is measured.
        rounds: Number of measured pairs.
        files: Height and width of the image files that are written to be read.
    """

    noise: NoiseRun
    device: torch.device
    rounds: int
    files: Size

    @property
    def settings(self) -> Settings:
        """The settings of the run."""
        return self.noise.settings

    @property
    def size(self) -> Size:
        """Height and width of the labeled images, which those of all parts have."""
        return self.noise.sizes["labeled"]

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.noise.classes)

    @property
    def batch(self) -> int:
        """Images that are mixed with each other."""
        return self.settings.data.batch_unlabeled

    def random(self, *key: int | str) -> torch.Generator:
        """A generator on the device, the same for the same key."""
        return generator(self.settings.seed, "benchmark", *key, device=self.device)

    def images(self, count: int) -> Tensor:
        """float32 RGB in [0, 1] on the device, shape (count, 3, H, W): coarse color and noise."""
        random = self.random("images")
        coarse = torch.rand(count, 3, 8, 8, generator=random, device=self.device)
        smooth = functional.interpolate(coarse, self.size, mode="bilinear")
        noise = torch.rand(smooth.shape, generator=random, device=self.device)
        return 0.9 * smooth + 0.1 * noise

    def labels(self, count: int) -> Tensor:
        """int64 on the device, shape (count, H, W): patches of all classes, some of none."""
        return patches(count, self.size, self.num_classes, self.random("labels"))

    def model(self) -> SegmentationModel:
        """The network with random weights: weights do not change its cost."""
        network = dataclasses.replace(self.settings.model, weights="none")
        model, _ = build_initial_model(
            network, self.settings.options, self.num_classes, self.settings.seed
        )
        return model.to(self.device)

    def options(self, registry: Registry[Any], name: str) -> dict[str, Any]:
        """Setting path -> value, of the options of a part; defaults where the run has none."""
        given = self.settings.options
        return {one.path: given.get(one.path, one.default) for one in registry.options(name)}


def workload(settings: Settings, rounds: int, files: Size) -> Workload:
    """The workload that settings describe.

    Raises:
        ConfigError: A name is unknown, or only data could tell classes or size.
    """
    if min(files) < SMALLEST_FILE:
        raise ConfigError(
            f"--files: at least {SMALLEST_FILE} pixels on a side, found {files[0]}x{files[1]}"
        )
    check_model_settings(dataclasses.replace(settings.model, weights="none"), settings.options)
    noise = NoiseRun.of(settings, None)
    return Workload(noise, choose_device(settings.training.device), rounds, files)


def patches(count: int, size: Size, num_classes: int, random: torch.Generator) -> Tensor:
    """Label maps of 16 x 16 rectangles; one of 20 has no label.

    Args:
        count: B.
        size: H and W.
        num_classes: C.
        random: A generator on the device of the result.

    Returns:
        int64, shape (B, H, W), 255 = ignore.
    """
    shape = (count, 1, 16, 16)
    ids = torch.randint(num_classes, shape, generator=random, device=random.device)
    missing = torch.rand(shape, generator=random, device=random.device) < 0.05
    coarse = ids.masked_fill(missing, IGNORE).float()
    return functional.interpolate(coarse, size, mode="nearest")[:, 0].long()
