"""CowMasks of several sigmas, and what they make of two images (Tranheden & Olsson, Figure 2.7)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from mixseg.analysis.figures.mixing import example, of_size
from mixseg.analysis.figures.request import Drawn, Request, csv_table, drawn_picture
from mixseg.analysis.sheet import Grid, Panel, scaled, sheet
from mixseg.data.arrays import ImageArray
from mixseg.mixing import CowMix, paste
from mixseg.mixing.cowmix import REFERENCE_AREA
from mixseg.randomness import generator

PANEL = 256
"""Most pixels of a side of each picture."""


def cow_mask(size: tuple[int, int], sigma: float, seed: int) -> NDArray[np.bool_]:
    """A mask of the mixer with one strength; masks of one seed differ by it alone.

    Args:
        size: Height and width.
        sigma: In pixels of a 512x1024 image.
        seed: Of the noise.
    """
    labels = torch.zeros(1, *size, dtype=torch.int64)
    mask = CowMix(sigma=(sigma, sigma)).mask(labels, generator(seed, "cow-masks"))
    kept: NDArray[np.bool_] = mask[0].numpy()
    return kept


def edges(mask: NDArray[np.bool_]) -> float:
    """The share of neighbouring pixels that a mask tells apart: the finer it is, the more."""
    across = int((mask[:, 1:] != mask[:, :-1]).sum()) + int((mask[1:] != mask[:-1]).sum())
    return across / (mask[:, 1:].size + mask[1:].size)


def draw(request: Request) -> Drawn:
    """A row of masks and one of mixed images, a column for each sigma."""
    dataset = request.datasets[0].dataset
    first, second = (example(dataset, index) for index in request.chosen(dataset, 2)[:2])
    height, width = first.label.shape
    second = of_size(second, first)
    scale = math.sqrt(height * width / REFERENCE_AREA)
    masks, mixed, rows = [], [], []
    for done, sigma in enumerate(request.sigmas, start=1):
        mask = cow_mask((height, width), sigma, request.seed)
        white = np.repeat(np.where(mask, 255, 0)[..., None], 3, axis=2).astype(np.uint8)
        masks.append(Panel(scaled(white, PANEL, exact=True), f"{100 * mask.mean():.0f} % kept"))
        image = paste(torch.from_numpy(mask)[None], first.image[None], second.image[None])[0]
        mixed.append(Panel(scaled(image.permute(1, 2, 0).numpy(), PANEL, exact=False)))
        rows.append((sigma, sigma * scale, float(mask.mean()), edges(mask)))
        request.advance(done, len(request.sigmas))

    def feet(grid: Grid) -> list[ImageArray]:
        size = f"sigma counts in pixels of a 512x1024 image; for {height}x{width} it is"
        return [grid.text([f"{size} multiplied by {scale:.2g}"])]

    titles = [f"sigma {sigma:g}" for sigma in request.sigmas]
    table = csv_table(("sigma", "sigma in pixels", "kept", "edges"), rows)
    return drawn_picture(sheet([masks, mixed], titles, feet), table)
