"""Two images and what each mixer makes of them (Tranheden & Olsson, Figures 2.6, 3.1, 3.2, 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixseg.analysis.figures.request import Drawn, Request, csv_table, drawn_picture
from mixseg.analysis.pictures import colourise, legend
from mixseg.analysis.sheet import Grid, Panel, scaled, sheet
from mixseg.data.arrays import ImageArray, LabelArray
from mixseg.data.class_maps import class_map
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.data.transforms import Example, resized
from mixseg.errors import ConfigError
from mixseg.ignore import IGNORE
from mixseg.mixing import paste
from mixseg.randomness import generator
from mixseg.registry import MIXERS

PANEL = 256
"""Most pixels of a side of each picture: five columns are as wide as a page."""

TITLES = ("pasted: A", "pasted on: B", "mask, white: A", "mixed image", "mixed label")

DOMAINS = "source over target"
"""Name of the row that pastes one data set on another."""


@final
@dataclass(frozen=True)
class Mixture:
    """Two images and what a mixer makes of them.

    Attributes:
        name: Of the mixer.
        own: A, whose pixels are kept where the mask is true.
        partner: B.
        mask: bool, shape (H, W).
        image: RGB uint8, shape (H, W, 3).
        label: uint8 train ids, shape (H, W).
    """

    name: str
    own: Example
    partner: Example
    mask: NDArray[np.bool_]
    image: ImageArray
    label: LabelArray


def mixture(
    name: str, mixer: str, own: Example, partner: Example, classes: int, seed: int
) -> Mixture:
    """Mix two examples of the same size as a training step does, with labels for pseudo-labels.

    Args:
        name: Shown.
        mixer: Key of :data:`mixseg.mixing.MIXERS`.
        own: A; the mask comes from its label.
        partner: B.
        classes: Number of classes.
        seed: Of the mask.
    """
    build = MIXERS.build(mixer, {}, num_classes=classes)
    mask = build.mask(own.label[None].long(), generator(seed, "mixing", name))
    image = paste(mask, own.image[None], partner.image[None])[0]
    label = paste(mask, own.label[None], partner.label[None])[0]
    return Mixture(name, own, partner, mask[0].numpy(), _picture(image), label.numpy())


def mixtures(request: Request) -> list[Mixture]:
    """One for each mixer, of two images of the data set; one more pastes the source on the target.

    Raises:
        ConfigError: Other than two images are named.
        DataError: The data set has fewer than two images, or no class map leads from the source.
    """
    dataset = request.datasets[0].dataset
    classes = len(dataset.classes)
    shown = request.chosen(dataset, 2)
    if len(shown) != 2:
        raise ConfigError(f"--ids: two images are mixed, found {len(shown)}")
    first, second = shown
    own = example(dataset, first)
    partner = of_size(example(dataset, second), own)
    found = [
        mixture(name, name, own, partner, classes, request.seed)
        for name in MIXERS
        if name != "none"
    ]
    if request.source is not None:
        source = request.source.dataset
        labelled = class_map(source.classes, dataset.classes).apply(source)
        order = torch.randperm(len(source), generator=generator(request.seed, "source image"))
        pasted = of_size(example(labelled, int(order[0])), partner)
        found.append(mixture(DOMAINS, "classmix", pasted, partner, classes, request.seed))
    return found


def draw(request: Request) -> Drawn:
    """A row for each mixer."""
    classes = request.datasets[0].dataset.classes
    found = mixtures(request)
    present = {int(one) for mixed in found for one in np.unique(mixed.label)}

    def feet(grid: Grid) -> list[ImageArray]:
        void = [grid.text(["black in a label: no class"])] if IGNORE in present else []
        return [legend(classes, present, grid.width), *void]

    rows = [_panels(mixed, classes) for mixed in found]
    return drawn_picture(sheet(rows, TITLES, feet), _table(found, classes))


def _panels(mixed: Mixture, classes: ClassSet) -> list[Panel]:
    mask = np.repeat(np.uint8(255) * mixed.mask[..., None], 3, axis=2).astype(np.uint8)
    kept = f"{100 * mixed.mask.mean():.0f} % of the pixels"
    return [
        Panel(scaled(_picture(mixed.own.image), PANEL, exact=False), mixed.name),
        Panel(scaled(_picture(mixed.partner.image), PANEL, exact=False)),
        Panel(scaled(mask, PANEL, exact=True), kept),
        Panel(scaled(mixed.image, PANEL, exact=False)),
        Panel(colourise(scaled(mixed.label, PANEL, exact=True), classes.palette)),
    ]


def _table(found: list[Mixture], classes: ClassSet) -> str:
    """Pixels of each class in A, in B, in what is kept of A, and in the mixed label."""
    rows = []
    for mixed in found:
        own, partner = mixed.own.label.numpy(), mixed.partner.label.numpy()
        for train_id, name in [*enumerate(classes.names), (IGNORE, "(void)")]:
            parts = (own, partner, own[mixed.mask], mixed.label)
            counts = [int((part == train_id).sum()) for part in parts]
            if any(counts):
                rows.append((mixed.name, name, *counts))
    return csv_table(("mixer", "class", "A", "B", "kept of A", "mixed"), rows)


def example(dataset: SegmentationDataset, index: int) -> Example:
    """A sample with its label."""
    image, label = dataset.pair(index)
    pixels, ids = torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(label)
    return Example(pixels, ids, torch.ones_like(ids, dtype=torch.bool))


def of_size(one: Example, other: Example) -> Example:
    """An example of the size of another: scaled to cover it, what hangs over is cut off evenly."""
    (height, width), (own_height, own_width) = other.label.shape, one.label.shape
    factor = max(height / own_height, width / own_width)
    one = resized(
        one, (max(height, round(factor * own_height)), max(width, round(factor * own_width)))
    )
    top, left = (one.label.shape[0] - height) // 2, (one.label.shape[1] - width) // 2
    return Example(*(part[..., top : top + height, left : left + width] for part in one))


def _picture(image: Tensor) -> ImageArray:
    """RGB uint8 of shape (H, W, 3) from a tensor of shape (3, H, W)."""
    pixels: ImageArray = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    return pixels
