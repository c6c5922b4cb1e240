"""Rare-class sampling: images that show rare classes are drawn more often.

DAFormer (Hoyer et al. 2022), III.C: with f_c the share of class c among the labeled pixels, a draw
first takes a class by P(c) = exp((1 - f_c) / T) / sum over c' of exp((1 - f_c') / T), then an image
that shows it.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from mixseg.config.values import Size
from mixseg.data.transforms import Wanted
from mixseg.randomness import derive_seed


def class_probabilities(pixels: NDArray[np.int64], temperature: float) -> NDArray[np.float64]:
    """The probability of each class to be drawn, float64, shape (C,); 0 for those without a pixel.

    Args:
        pixels: Labeled pixels of each class, shape (C,), of which there is at least one.
        temperature: T; the lower, the more rare classes are preferred.
    """
    exponents = np.where(pixels > 0, 1 - pixels / pixels.sum(), -np.inf) / temperature
    weights = np.exp(exponents - exponents.max())
    probabilities: NDArray[np.float64] = weights / weights.sum()
    return probabilities


def images_by_class(
    pixels: NDArray[np.int64], min_pixels: int, resize: Size | None = None
) -> tuple[list[NDArray[np.int64]], list[int]]:
    """The images that may be drawn for each class, and the classes that all images show too little.

    Of a class that no image shows at ``min_pixels``, those are taken that have at least half as
    many as the one with most, so that a small set is not reduced to one image.

    Args:
        pixels: Of each class in each label file, the last column those of no class, (N, C + 1).
        min_pixels: Pixels that are enough, at the size of the images after ``resize``.
        resize: Height and width that every image is resized to.

    Returns:
        Ascending rows of ``pixels`` for each class, none for a class that does not occur; and the
        train ids of classes that occur but never at ``min_pixels``.
    """
    shown = pixels[:, :-1].astype(np.float64)
    if resize is not None:
        shown *= resize[0] * resize[1] / np.maximum(pixels.sum(axis=1, keepdims=True), 1)
    most = shown.max(axis=0)
    enough = np.where(most < min_pixels, most / 2, min_pixels)
    taken = (shown >= enough) & (shown > 0)
    images = [np.flatnonzero(of_class) for of_class in taken.T]
    return images, np.flatnonzero((most > 0) & (most < min_pixels)).tolist()


@final
@dataclass(frozen=True, eq=False)
class RareClassSampler:
    """Draw number -> an image and the class that its crop should show.

    A draw depends on seed, stream and its number alone.

    Attributes:
        pixels: Of each class in each label file of the stream, the last column those of no class,
            shape (N, C + 1).
        seed: That of the run.
        stream: Name of the stream.
        temperature: T of the paper.
        min_pixels: Pixels of its class that an image should have, as the network sees it.
        min_crop_share: Share of them that a crop should show.
        retries: Most further places of a crop that are tried.
        resize: Height and width that every image is resized to.
    """

    pixels: NDArray[np.int64]
    _: KW_ONLY
    seed: int
    stream: str
    temperature: float
    min_pixels: int
    min_crop_share: float
    retries: int
    resize: Size | None = None
    _images: list[NDArray[np.int64]] = field(init=False)
    _cumulative: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        images, _ = images_by_class(self.pixels, self.min_pixels, self.resize)
        of_class = self.pixels[:, :-1].sum(axis=0)
        cumulative = class_probabilities(of_class, self.temperature).cumsum()
        object.__setattr__(self, "_images", images)
        object.__setattr__(self, "_cumulative", cumulative / cumulative[-1])

    def draw(self, number: int) -> tuple[NDArray[np.int64], Wanted]:
        """All images in the order in which they are tried until one can be read, and the class.

        The first are those that show the class: from the drawn one on, and then from the first of
        them. They are rows of ``pixels``.
        """
        random = np.random.default_rng(derive_seed(self.seed, self.stream, "rare class", number))
        train_id = int(np.searchsorted(self._cumulative, random.random(), side="right"))
        own = self._images[train_id]
        other = np.ones(len(self.pixels), dtype=bool)
        other[own] = False
        order = np.concatenate(
            [np.roll(own, -int(random.integers(len(own)))), np.flatnonzero(other)]
        )
        share = self.min_crop_share
        return order, Wanted(train_id, share * self.min_pixels, share, self.retries)
