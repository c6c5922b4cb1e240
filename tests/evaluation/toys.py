"""Small networks and data sets whose right answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mixseg.data.contract import ClassSet, Sample, SegmentationDataset, lookup_table
from mixseg.ignore import IGNORE

CLASSES = ClassSet(
    names=("road", "[red]sky[/red]", "tree\x1b[31m"),
    palette=((128, 64, 128), (70, 130, 180), (107, 142, 35)),
    label_ids=(7, 23, 21),
)


class Brightest(nn.Module):
    """Logits that are the colour channels: the class of a pixel is its brightest channel."""

    def forward(self, images: Tensor) -> Tensor:
        return 20 * images


class PerPixel(nn.Module):
    """A 1x1 convolution, which no window or flip can disturb, behind layers that have modes."""

    def __init__(self, num_classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Conv2d(3, num_classes, kernel_size=1)
        )
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


def picture(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image in which :class:`Brightest` sees exactly these labels; ignored pixels are black."""
    image = np.zeros((*labels.shape, 3), dtype=np.uint8)
    for index in range(3):
        image[labels == index, index] = 255
    return image


def random_labels(seed: int, height: int, width: int, ignore: bool = True) -> NDArray[np.uint8]:
    ids = [0, 1, 2, IGNORE] if ignore else [0, 1, 2]
    return np.random.default_rng(seed).choice(ids, size=(height, width)).astype(np.uint8)


def write_dataset(
    root: Path, labels: list[NDArray[np.uint8]], images: list[NDArray[np.uint8]] | None = None
) -> SegmentationDataset:
    """PNG files and the data set over them; by default images show their labels."""
    samples = []
    for index, label in enumerate(labels):
        image = picture(label) if images is None else images[index]
        sample = Sample(f"{index:03}", root / f"{index:03}.png", root / f"{index:03}_label.png")
        Image.fromarray(image).save(sample.image)
        assert sample.label is not None
        Image.fromarray(label).save(sample.label)
        samples.append(sample)
    return SegmentationDataset(
        name="toy",
        root=root,
        split="val",
        classes=CLASSES,
        samples=tuple(samples),
        lookup=lookup_table({0: 0, 1: 1, 2: 2}, [IGNORE]),
        read_raw_image=lambda path, target: np.array(Image.open(path)),
        read_raw_label=lambda path: np.array(Image.open(path)),
    )
