"""Smooth random fields for clouds, stains and light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def smooth_noise(
    generator: np.random.Generator, shape: tuple[int, int], knots: tuple[int, int]
) -> NDArray[np.float32]:
    """Noise with the given numbers of knots across and down, enlarged to (height, width)."""
    columns, rows = knots
    coarse = Image.fromarray(generator.standard_normal((rows, columns), dtype=np.float32))
    return np.array(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), dtype=np.float32)
