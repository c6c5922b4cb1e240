"""sRGB (IEC 61966-2-1) to CIE LAB (CIE 15) and back, with the white of sRGB, D65."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

XYZ_OF_RGB = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
"""XYZ of the three primaries of linear sRGB, a column each; they add up to the white point."""

SHARES = XYZ_OF_RGB / XYZ_OF_RGB.sum(axis=1, keepdims=True)
"""The same as shares of white: what is gray has a and b of 0."""

TO_SHARES, TO_RGB = SHARES.tolist(), np.linalg.inv(SHARES).tolist()
"""The matrix and its inverse as numbers of the host."""

BEND = 6 / 29
"""Cube root at which the function of LAB goes over into its tangent."""


def rgb_to_lab(images: Tensor) -> Tensor:
    """sRGB in [0, 1] (B, 3, H, W) to L in [0, 100] and a and b of about [-110, 110]."""
    linear = torch.where(images <= 0.04045, images / 12.92, ((images + 0.055) / 1.055) ** 2.4)
    shares = _mixed(TO_SHARES, linear)
    tangent = shares / (3 * BEND**2) + 4 / 29
    x, y, z = torch.where(shares > BEND**3, shares ** (1 / 3), tangent).unbind(dim=1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)


def lab_to_rgb(colors: Tensor) -> Tensor:
    """LAB (B, 3, H, W) to sRGB; what lies outside of [0, 1] is cut off."""
    lightness, a, b = colors.unbind(dim=1)
    y = (lightness + 16) / 116
    roots = torch.stack((y + a / 500, y, y - b / 200), dim=1)
    shares = torch.where(roots > BEND, roots**3, 3 * BEND**2 * (roots - 4 / 29))
    linear = _mixed(TO_RGB, shares).clamp(min=0)
    curved = 1.055 * linear ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, curved).clamp(max=1)


def _mixed(matrix: Sequence[Sequence[float]], images: Tensor) -> Tensor:
    """A matrix of the host times the three channels of each pixel, in full precision."""
    first, second, third = images.unbind(dim=1)
    rows = [a * first + b * second + c * third for a, b, c in matrix]
    return torch.stack(rows, dim=1)
