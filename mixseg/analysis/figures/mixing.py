"""Two images and what each mixer makes of them (Tranheden & Olsson, Figures 2.6, 3.1, 3.2, 3.4)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixseg.analysis.figures.figure import Drawn, Given, figure
from mixseg.data.class_maps import built_in_map
from mixseg.data.contract import SegmentationDataset
from mixseg.data.images import ImageArray, LabelArray
from mixseg.errors import ConfigError
from mixseg.evaluation.pictures import Grid, Panel, colorize, gray, legend, scaled, sheet
from mixseg.ignore import IGNORE
from mixseg.registry import MIXERS

if TYPE_CHECKING:
    from torch import Tensor

    from mixseg.data.transforms import Example
    from mixseg.mixing import Mixer

LOG = logging.getLogger("mixseg")

PANEL = 256
"""Most pixels of a side of each picture: five columns are as wide as a page."""

FIRST = ("classmix", "cutmix", "cowmix")
"""Mixers of the first rows, as the paper shows them."""

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
    images=2,
)
def draw(given: Given, source: str | None = None, source_root: str | None = None) -> Drawn:
    """A row for each mixer, with true labels in place of pseudo-labels.

    Args:
        given: Two images.
        source: what is pasted on the data set [demo-render]
        source_root: its folder
    """
    classes = given.dataset.classes
    found = list(mixtures(given, _source(given, source, source_root)))
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
    return Drawn(sheet(panels, titles, feet), head, rows)


def mixtures(given: Given, source: SegmentationDataset | None = None) -> Iterator[Mixture]:
    """What each mixer makes of two images, and ClassMix of one of the source and the second."""
    import torch

    from mixseg.mixing import paste
    from mixseg.randomness import generator

    own, partner = two_examples(given)

    def built(mixer: str) -> Mixer:
        return MIXERS.build(mixer, {}, num_classes=len(given.dataset.classes))

    def mixture(name: str, mixer: str, own: Example) -> Mixture:
        mask = built(mixer).mask(own.label[None].long(), generator(given.seed, "mixing", name))
        image = paste(mask, own.image[None], partner.image[None])[0]
        label = paste(mask, own.label[None], partner.label[None])[0]
        return Mixture(name, own, partner, mask[0].numpy(), rgb(image), label.numpy())

    for name in dict.fromkeys((*FIRST, *MIXERS)):
        if name != "none" and hasattr(built(name), "mask"):
            yield mixture(name, name, own)
    if source is not None:
        order = torch.randperm(len(source), generator=generator(given.seed, "source image"))
        yield mixture(DOMAINS, "classmix", _of_size(_example(source, int(order[0])), partner))


def two_examples(given: Given) -> tuple[Example, Example]:
    """The two images that are shown, of the size of the first.

    Raises:
        ConfigError: Not two are named.
    """
    if len(given.shown) != 2:
        raise ConfigError(f"--ids: two images are mixed, found {len(given.shown)}")
    own, partner = (_example(given.dataset, index) for index in given.shown)
    return own, _of_size(partner, own)


def _source(given: Given, name: str | None, root: str | None) -> SegmentationDataset | None:
    """The source in the classes of the target; by default built-in renderings, if there is a map.

    Raises:
        ConfigError: There is no class map from the source that was named.
    """
    from mixseg.analysis.figures.opening import open_datasets

    flags = ("--source", "--source-root")
    roots = [] if root is None else [root]
    ((_, source),) = open_datasets([name or "demo-render"], roots, "train", flags)
    title, target = given.datasets[0]
    common = built_in_map(source.classes, target.classes)
    if common is not None:
        return common.apply(source)
    if name is not None:
        raise ConfigError(
            f"--source {name}: no class map is built in from its classes to those of {title}"
        )
    LOG.warning(f"no class map leads from built-in scenes to {title}: no row of two domains")
    return None


def _example(dataset: SegmentationDataset, index: int) -> Example:
    import torch

    from mixseg.data.transforms import Example

    image, label = dataset.pair(index)
    pixels, ids = torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(label)
    return Example(pixels, ids, torch.ones_like(ids, dtype=torch.bool))


def _of_size(one: Example, other: Example) -> Example:
    """Scale an example to cover another and crop its center to the other's size."""
    from mixseg.data.transforms import resized

    (height, width), (own_height, own_width) = other.label.shape, one.label.shape
    factor = max(height / own_height, width / own_width)
    size = (max(height, round(factor * own_height)), max(width, round(factor * own_width)))
    one = resized(one, size)
    top, left = (one.label.shape[0] - height) // 2, (one.label.shape[1] - width) // 2
    return one.mapped(lambda part: part[..., top : top + height, left : left + width])


def rgb(image: Tensor) -> ImageArray:
    """RGB uint8 of shape (H, W, 3) from a tensor of shape (3, H, W)."""
    pixels: ImageArray = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    return pixels
