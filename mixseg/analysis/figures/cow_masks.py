"""CowMasks of several sigmas, and what they make of two images (Tranheden & Olsson, Figure 2.7)."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from mixseg.analysis.figures.figure import Drawn, Given, check_distinct, figure
from mixseg.analysis.figures.mixing import rgb, two_examples
from mixseg.config.values import Range
from mixseg.data.images import ImageArray
from mixseg.evaluation.pictures import Grid, Panel, gray, scaled, sheet

PANEL = 256
"""Most pixels of a side of each picture."""

Sigmas = Annotated[tuple[float, ...], Range(0.1, 10_000)]


@figure(
    "cow-masks",
    "CowMasks of several sigmas, and what they make of two images (Tranheden & Olsson: 2.7)",
    datasets=1,
    images=2,
)
def draw(given: Given, sigmas: Sigmas = (4.0, 8.0, 16.0, 32.0, 64.0)) -> Drawn:
    """A row of masks and one of mixed images, a column for each sigma.

    Args:
        given: Two images.
        sigmas: in pixels of a 512x1024 image
    """
    import torch

    from mixseg.mixing import paste
    from mixseg.mixing.cowmix import REFERENCE_AREA

    check_distinct("--sigmas", sigmas)
    first, second = two_examples(given)
    height, width = first.label.shape
    scale = math.sqrt(height * width / REFERENCE_AREA)
    masks, mixed, rows = [], [], []
    for done, sigma in enumerate(sigmas, start=1):
        mask = cow_mask((height, width), sigma, given.seed)
        white = gray(np.where(mask, 255, 0).astype(np.uint8))
        masks.append(Panel(scaled(white, PANEL, exact=True), f"{100 * mask.mean():.0f} % kept"))
        image = paste(torch.from_numpy(mask)[None], first.image[None], second.image[None])[0]
        mixed.append(Panel(scaled(rgb(image), PANEL, exact=False)))
        rows.append((sigma, sigma * scale, float(mask.mean()), edges(mask)))
        given.advance(done, len(sigmas))

    def feet(grid: Grid) -> list[ImageArray]:
        size = f"sigma counts in pixels of a 512x1024 image; for {height}x{width} it is"
        return [grid.text(f"{size} multiplied by {scale:.2g}")]

    titles = [f"sigma {sigma:g}" for sigma in sigmas]
    head = ("sigma", "sigma in pixels", "kept", "edges")
    return Drawn(sheet([masks, mixed], titles, feet), head, rows)


def cow_mask(size: tuple[int, int], sigma: float, seed: int) -> NDArray[np.bool_]:
    """A mask of the mixer, shape ``size``, with one sigma in pixels of a 512x1024 image.

    Masks of one seed differ by their sigma alone.
    """
    import torch

    from mixseg.mixing import CowMix
    from mixseg.randomness import generator

    labels = torch.zeros(1, *size, dtype=torch.int64)
    mask = CowMix(sigma=(sigma, sigma)).mask(labels, generator(seed, "cow-masks"))
    kept: NDArray[np.bool_] = mask[0].numpy()
    return kept


def edges(mask: NDArray[np.bool_]) -> float:
    """The share of neighboring pixels that a mask tells apart: the finer it is, the more."""
    across = int((mask[:, 1:] != mask[:, :-1]).sum()) + int((mask[1:] != mask[:-1]).sum())
    return across / (mask[:, 1:].size + mask[1:].size)
