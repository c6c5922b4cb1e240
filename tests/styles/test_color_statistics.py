from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixseg.styles import ColorStatistics
from mixseg.styles.lab import lab_to_rgb, rgb_to_lab
from tests.styles.test_contract import generator, images


def cie_lab(pixel: NDArray[np.float64]) -> list[float]:
    """L*, a*, b* of an sRGB pixel in [0, 1]: IEC 61966-2-1, then CIE 15 with the white D65."""
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in pixel)
    x = 0.4124 * red + 0.3576 * green + 0.1805 * blue
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = 0.0193 * red + 0.1192 * green + 0.9505 * blue

    def root(t: float) -> float:
        return t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116

    fx, fy, fz = root(x / 0.9505), root(y / 1.0), root(z / 1.0890)
    return [116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)]


def colors_of(image: Tensor) -> NDArray[np.float64]:
    """LAB of the pixels of (3, H, W): shape (H W, 3)."""
    pixels = image.double().flatten(1).T.numpy()
    return np.array([cie_lab(pixel) for pixel in pixels])


def test_lab_is_that_of_the_equations_and_goes_back() -> None:
    own = images(0, 2, 9, 13)
    own[0, :, 0] *= 0.01  # dark, where the functions are straight
    own[0, :, 1] = own[0, :1, 1]  # gray
    own[1, :, 0] = own[1, :, 0].round()  # pure colors, black and white
    found = rgb_to_lab(own)
    for image, result in zip(own, found, strict=True):
        np.testing.assert_allclose(result.flatten(1).T.numpy(), colors_of(image), atol=2e-3)
    torch.testing.assert_close(lab_to_rgb(found), own, rtol=0, atol=1e-5)
    assert found[0, 1:, 1].abs().max() < 1e-3, "gray has no color"
    # Lindbloom's values for the red primary of sRGB under D65.
    red = rgb_to_lab(torch.tensor((1.0, 0, 0)).view(1, 3, 1, 1)).flatten().tolist()
    assert red == pytest.approx((53.24, 80.09, 67.20), abs=0.03)


def soft(seed: int, *shape: int) -> Tensor:
    """Colors that are far from what a screen cannot show."""
    return 0.35 + 0.3 * images(seed, *shape)


def test_mean_and_covariance_are_those_of_the_other() -> None:
    own, like = soft(0, 2, 23, 30), soft(1, 2, 31, 17)
    own = own * torch.tensor((1, 0.6, 0.9)).view(1, 3, 1, 1)
    valid = torch.rand(2, 23, 30, generator=generator()) < 0.6
    like_valid = torch.rand(2, 31, 17, generator=generator(1)) < 0.6
    found = ColorStatistics()(own, like, generator(), valid, like_valid)
    assert 0 < float(found.min()) < float(found.max()) < 1, "nothing was cut off"
    for b in range(2):
        result, before = (colors_of(one[b])[valid[b].flatten().numpy()] for one in (found, own))
        wanted = colors_of(like[b])[like_valid[b].flatten().numpy()]
        np.testing.assert_allclose(result.mean(axis=0), wanted.mean(axis=0), atol=0.02)
        expected = np.cov(wanted.T, bias=True)
        scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        np.testing.assert_allclose(np.cov(result.T, bias=True) / scale, expected / scale, atol=0.01)
        # What was lighter is lighter.
        assert (np.argsort(result[:, 0]) == np.argsort(before[:, 0])).mean() > 0.98


def test_an_image_of_one_color_takes_the_mean_color() -> None:
    like = soft(1, 1, 20, 20)
    found = ColorStatistics()(torch.full((1, 3, 8, 8), 0.3), like, generator())
    mean = colors_of(like[0]).mean(axis=0)
    np.testing.assert_allclose(colors_of(found[0]), np.tile(mean, (64, 1)), atol=0.3)


def test_autocast_does_not_change_colors() -> None:
    own, like = images(0, 2, 16, 16), images(1, 2, 16, 16)
    expected = ColorStatistics()(own, like, generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ColorStatistics()(own, like, generator()), expected)
