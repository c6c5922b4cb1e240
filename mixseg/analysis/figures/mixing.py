"""Two images and what each mixer makes of them (Tranheden & Olsson, Figures 2.6, 3.1, 3.2, 3.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixseg.analysis.figures.figure import (
    IDS,
    SEED,
    Drawn,
    Flag,
    Given,
    chosen,
    csv_table,
    drawn_picture,
    figure,
)
from mixseg.analysis.figures.opening import open_datasets
from mixseg.config import MixingSettings
from mixseg.data.arrays import ImageArray, LabelArray
from mixseg.data.class_maps import built_in_map
from mixseg.data.contract import SegmentationDataset
from mixseg.data.transforms import Example, resized
from mixseg.errors import ConfigError
from mixseg.evaluation.pictures import Grid, Panel, colorize, gray, legend, scaled, sheet
from mixseg.ignore import IGNORE
from mixseg.mixing import MIXERS, build_mixer, paste
from mixseg.randomness import generator
from mixseg.terminal import new_console, say

PANEL = 256
"""Most pixels of a side of each picture: five columns are as wide as a page."""

DOMAINS = "source over target"
"""Name of the row that pastes one data set on another."""


class Mixture(NamedTuple):
    """Two images and what a mixer makes of them.

    Attributes:
        name: Name of the row.
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


@figure(
    "mixing",
    "two images, mask and what each mixer makes (Tranheden & Olsson: 2.6, 3.1, 3.2, 3.4)",
    datasets=1,
    flags=(
        Flag("source", str, "what is pasted on the data set [demo-render]"),
        Flag("source-root", str, metavar="DIR"),
        *(SEED, IDS),
    ),
)
def draw(
    given: Given,
    source: str | None = None,
    source_root: str | None = None,
    seed: int = 0,
    ids: Sequence[str] = (),
) -> Drawn:
    """A row for each mixer, of true labels in place of pseudo-labels.

    Raises:
        ConfigError: Other than two images are named, or no class map leads from the source.
        DataError: The data set has fewer than two images.
    """
    classes = given.dataset.classes
    pasted = _source(given, source, source_root)
    found = list(mixtures(given.dataset, pasted, seed, ids))
    present = {int(one) for mixed in found for one in np.unique(mixed.label)}

    def feet(grid: Grid) -> list[ImageArray]:
        void = [grid.text("black in a label: no class")] if IGNORE in present else []
        return [legend(classes, present, grid.width), *void]

    panels, rows = [], []
    for mixed in found:
        mask = gray(np.where(mixed.mask, 255, 0).astype(np.uint8))
        kept = f"{100 * mixed.mask.mean():.0f} % of the pixels"
        panels.append(
            [
                Panel(scaled(rgb(mixed.own.image), PANEL, exact=False), mixed.name),
                Panel(scaled(rgb(mixed.partner.image), PANEL, exact=False)),
                Panel(scaled(mask, PANEL, exact=True), kept),
                Panel(scaled(mixed.image, PANEL, exact=False)),
                Panel(colorize(scaled(mixed.label, PANEL, exact=True), classes.palette)),
            ]
        )
        own, partner = mixed.own.label.numpy(), mixed.partner.label.numpy()
        parts = (own, partner, own[mixed.mask], mixed.label)
        for train_id, name in [*enumerate(classes.names), (IGNORE, "(void)")]:
            counts = [int((part == train_id).sum()) for part in parts]
            if any(counts):
                rows.append((mixed.name, name, *counts))
    titles = ("pasted: A", "pasted on: B", "mask, white: A", "mixed image", "mixed label")
    head = ("mixer", "class", "A", "B", "kept of A", "mixed")
    return drawn_picture(sheet(panels, titles, feet), csv_table(head, rows))


def mixtures(
    dataset: SegmentationDataset,
    source: SegmentationDataset | None,
    seed: int,
    ids: Sequence[str] = (),
) -> Iterator[Mixture]:
    """What each mixer makes of two images, and ClassMix of one of the source and the second.

    Args:
        dataset: Where the two images are from.
        source: A data set with the same classes; None leaves its row out.
        seed: Chooses images and masks.
        ids: The two images; empty chooses them.
    """
    shown = chosen(dataset, 2, seed, ids)
    if len(shown) != 2:
        raise ConfigError(f"--ids: two images are mixed, found {len(shown)}")
    own = example(dataset, shown[0])
    partner = of_size(example(dataset, shown[1]), own)

    def mixture(name: str, mixer: str, own: Example) -> Mixture:
        build = build_mixer(MixingSettings(mixer=mixer), len(dataset.classes))
        mask = build.mask(own.label[None].long(), generator(seed, "mixing", name))
        image = paste(mask, own.image[None], partner.image[None])[0]
        label = paste(mask, own.label[None], partner.label[None])[0]
        return Mixture(name, own, partner, mask[0].numpy(), rgb(image), label.numpy())

    for name in MIXERS:
        if name != "none":
            yield mixture(name, name, own)
    if source is not None:
        order = torch.randperm(len(source), generator=generator(seed, "source image"))
        pasted = of_size(example(source, int(order[0])), partner)
        yield mixture(DOMAINS, "classmix", pasted)


def _source(given: Given, name: str | None, root: str | None) -> SegmentationDataset | None:
    """What is pasted on the target; without the flag, built-in renderings where a map leads."""
    console = given.console or new_console()
    flags = ("--source", "--source-root")
    roots = [] if root is None else [root]
    (source,) = open_datasets([name or "demo-render"], roots, "train", console, flags)
    target = given.datasets[0]
    common = built_in_map(source.dataset.classes, target.dataset.classes)
    if common is not None:
        return common.apply(source.dataset)
    if name is not None:
        raise ConfigError(
            f"--source {name}: no class map is built in from its classes to those of {target.title}"
        )
    note = f"no class map leads from built-in scenes to {target.title}: no row of two domains"
    say(console, note)
    return None


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


def rgb(image: Tensor) -> ImageArray:
    """RGB uint8 of shape (H, W, 3) from a tensor of shape (3, H, W)."""
    pixels: ImageArray = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    return pixels
