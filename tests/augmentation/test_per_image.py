from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy.ndimage import gaussian_filter
from scipy.stats import kstest
from torch import Tensor

from mixseg.augmentation import PerImageAugmentation
from mixseg.augmentation.per_image import blurred_each
from mixseg.errors import ConfigError

OFF: dict[str, Any] = {"jitter_probability": 0, "gray_probability": 0, "blur_probability": 0}
NO_CHANGE = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}


def images(seed: int = 0, shape: tuple[int, ...] = (4, 3, 24, 31)) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def augmented(batch: Tensor, seed: int = 0, **options: Any) -> Tensor:
    return PerImageAugmentation(**options)(batch, torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.sampled_from([(24, 31), (1, 1), (1, 9), (2, 3), (5, 5)]),
)
def test_stays_in_the_unit_range_and_leaves_its_input_alone(
    seed: int, size: tuple[int, int]
) -> None:
    batch = images(seed, (3, 3, *size))
    before = batch.clone()
    strong = {"brightness": 1, "contrast": 1, "saturation": 1, "hue": 0.5}
    result = augmented(batch, seed, **strong, jitter_probability=1, blur_sigma=(0.1, 4))
    assert (result.shape, result.dtype) == (batch.shape, torch.float32)
    assert 0 <= float(result.min()) <= float(result.max()) <= 1 + 1e-5
    assert torch.equal(batch, before)


def test_each_image_is_changed_with_the_probability_of_its_own() -> None:
    one = images(shape=(1, 3, 6, 5)).expand(3000, 3, 6, 5)
    for option, share in (
        ("jitter_probability", 0.8),
        ("gray_probability", 0.2),
        ("blur_probability", 0.5),
    ):
        result = augmented(one, **(OFF | {option: share}))
        same = (result == one).flatten(1).all(dim=1)  # to the bit, where nothing was drawn
        assert 1 - float(same.double().mean()) == pytest.approx(share, abs=0.03)
        gray = (result == result[:, :1]).flatten(1).all(dim=1)
        assert torch.equal(gray, ~same if option == "gray_probability" else gray & False)
    # With the published defaults a half is not of the images, but of each change.
    result = augmented(one)
    gray = (result - result[:, :1]).abs().flatten(1).amax(dim=1) < 1e-6
    assert float(gray.double().mean()) == pytest.approx(0.2, abs=0.03)
    same = (result == one).flatten(1).all(dim=1)
    assert float(same.double().mean()) == pytest.approx(0.2 * 0.8 * 0.5, abs=0.02)


@pytest.mark.parametrize(
    ("change", "enhance"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_each_change_is_pillows_with_a_uniform_factor(change: str, enhance: Any) -> None:
    # Middle values, so that nothing is cut off and the factor can be told from the result.
    one = 0.35 + 0.3 * images(shape=(1, 3, 9, 8))
    picture = Image.fromarray((255 * one[0]).round().byte().permute(1, 2, 0).numpy())
    options = OFF | NO_CHANGE | {"jitter_probability": 1, change: 0.5}
    results = augmented(one.expand(400, 3, 9, 8), **options)
    zero, full = (
        torch.from_numpy(np.asarray(enhance(picture).enhance(factor)).copy()).permute(2, 0, 1) / 255
        for factor in (0, 1)
    )
    # enhance(factor) lies at this place of the line through both.
    line = full - zero
    factors = ((results - zero) * line).sum(dim=(1, 2, 3)) / line.square().sum()
    expected = zero + factors.view(-1, 1, 1, 1) * line
    torch.testing.assert_close(results, expected, rtol=0, atol=0.012)  # Pillow has 256 levels
    assert kstest(factors.numpy(), "uniform", args=(0.5, 1)).pvalue > 1e-3


def test_hue_turns_by_up_to_its_share_of_the_circle() -> None:
    red = torch.tensor((1.0, 0, 0)).view(1, 3, 1, 1).expand(500, 3, 2, 2)
    options = OFF | NO_CHANGE | {"jitter_probability": 1, "hue": 1 / 6}
    results = augmented(red, **options)[..., 0, 0]
    # A sixth of a turn from red lie yellow and magenta; in between one channel rises evenly.
    assert (results[:, 0] == 1).all()
    turns = (results[:, 1] - results[:, 2]) / 6
    assert kstest(turns.numpy(), "uniform", args=(-1 / 6, 1 / 3)).pvalue > 1e-3


@pytest.mark.parametrize("size", [(40, 51), (33, 20)])
def test_blur_is_a_gaussian_filter_of_each_image(size: tuple[int, int]) -> None:
    sigma = torch.tensor([0.1, 0.4, 1.0, 2.0])
    batch = images(shape=(4, 3, *size))
    found = blurred_each(batch, sigma)
    for image, deviation, result in zip(batch, sigma.tolist(), found, strict=True):
        expected = gaussian_filter(
            image.double().numpy(), deviation, axes=(1, 2), mode="mirror", truncate=8
        )
        np.testing.assert_allclose(result.numpy(), expected, atol=2e-4)


def test_a_blurred_image_does_not_depend_on_the_others() -> None:
    batch, sigma = images(), torch.tensor([0.1, 0.4, 1.0, 2.0])
    together = blurred_each(batch, sigma)
    for row in range(4):
        alone = blurred_each(batch[row : row + 1], sigma[row : row + 1])
        assert torch.equal(together[row : row + 1], alone)


def test_sigma_is_uniform() -> None:
    # A point spreads to a height that tells sigma.
    point = torch.zeros(300, 3, 33, 33)
    point[..., 16, 16] = 1
    heights = augmented(point, **(OFF | {"blur_probability": 1}))[:, 0, 16, 16]
    grid = torch.linspace(0.1, 2, 500)
    known = blurred_each(point[:1].expand(500, 3, 33, 33), grid)[:, 0, 16, 16]
    sigma = np.interp(-heights.numpy(), -known.numpy(), grid.numpy())
    wide = sigma[sigma > 0.3]  # below nothing is spread
    assert 0.8 < len(wide) / 300 < 0.95
    assert kstest(wide, "uniform", args=(0.3, 1.7)).pvalue > 1e-3


def test_the_generator_alone_decides() -> None:
    batch = images()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = augmented(batch, 3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(augmented(batch, 3), first)
    assert not torch.equal(augmented(batch, 4), first)


def test_a_range_in_falling_order_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"augmentation\.blur_sigma.*\(2, 1\)"):
        PerImageAugmentation(blur_sigma=(2, 1))
