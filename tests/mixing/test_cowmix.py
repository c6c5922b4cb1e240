from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from mixseg.mixing import CowMix
from mixseg.mixing.cowmix import bumps

HEIGHT, WIDTH = 128, 256
SCALE = 1 / 4
"""128x256 has a quarter of the sides of 512x1024, for which sigma is given."""


def masks(
    count: int, proportion: float = 0.5, sigma: tuple[float, float] = (8.0, 32.0), seed: int = 0
) -> NDArray[np.bool_]:
    labels = torch.zeros(count, HEIGHT, WIDTH, dtype=torch.uint8)
    mixer = CowMix(proportion, sigma)
    return mixer.mask(labels, torch.Generator().manual_seed(seed)).numpy()


def boundary_share(mask: NDArray[np.bool_]) -> float:
    """Share of neighboring pixels on one row that differ."""
    return float((mask[..., 1:] != mask[..., :-1]).mean())


@pytest.mark.parametrize("proportion", [0.25, 0.5])
def test_covers_the_proportion_on_average(proportion: float) -> None:
    found = masks(150, proportion)
    assert found.mean() == pytest.approx(proportion, abs=0.02)
    assert (found[0] != found[1]).mean() > 0.2, "each image draws its own"


def test_sigma_lies_in_its_range() -> None:
    shares = [boundary_share(mask) for mask in masks(60, sigma=(8.0, 32.0))]
    fine, coarse = (boundary_share(masks(20, sigma=(one, one))) for one in (8.0, 32.0))
    assert coarse < np.mean(shares) < fine
    assert np.std(shares) > 0.15 * np.mean(shares), "each image draws its own sigma"


@pytest.mark.parametrize("size", [(64, 128), (200, 90)])
@pytest.mark.parametrize("scaled", [True, False])
def test_sigma_is_that_of_512x1024_unless_it_is_in_pixels(
    size: tuple[int, int], scaled: bool
) -> None:
    sigma = 8 / (size[0] * size[1] / (512 * 1024)) ** 0.5 if scaled else 8.0
    mixer = CowMix(0.5, (sigma, sigma), sigma_scaled=scaled)
    labels = torch.zeros(60, *size, dtype=torch.uint8)
    found = mixer.mask(labels, torch.Generator().manual_seed(0)).numpy()
    assert boundary_share(found) == pytest.approx(1 / (np.pi * np.sqrt(2) * 8), rel=0.15)


@pytest.mark.parametrize(("low", "sigma", "high"), [(8, 8, 32), (8, 20, 32), (1, 1, 3)])
def test_the_field_varies_as_scipys_does(low: float, sigma: float, high: float) -> None:
    """Both are linear in white noise, so that their covariances are known without any sample."""
    length = 150
    kernels = bumps(length, torch.tensor([[[float(sigma)]]]), low, high)[0].double().numpy()
    own = kernels @ kernels.T
    margin = int(4 * high) + 1
    spread = gaussian_filter1d(np.eye(length + 2 * margin), sigma, axis=0)[margin:-margin]
    expected = spread @ spread.T
    # The same everywhere: neither borders nor the points of the grid are seen.
    assert np.ptp(np.diagonal(own)) < 0.002 * own[0, 0]
    found, wanted = (one[length // 2] / one[length // 2, length // 2] for one in (own, expected))
    np.testing.assert_allclose(found, wanted, atol=0.005)
    crossings = [np.arccos(one[length // 2 + 1]) for one in (found, wanted)]
    assert crossings[0] == pytest.approx(crossings[1], rel=0.02)
    lags = np.arange(length - length // 2)
    lengths = [np.interp(-1 / np.e, -one[length // 2 :], lags) for one in (found, wanted)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.02)
