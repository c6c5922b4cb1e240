from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from scipy.stats import chisquare
from torch import Tensor

from mixseg.augmentation import RandAugment
from mixseg.augmentation.randaugment import OPERATIONS

BY_PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda picture, strength: picture,
    "autocontrast": lambda picture, strength: ImageOps.autocontrast(picture),
    "equalize": lambda picture, strength: ImageOps.equalize(picture),
    "contrast": lambda picture, strength: ImageEnhance.Contrast(picture).enhance(strength),
    "brightness": lambda picture, strength: ImageEnhance.Brightness(picture).enhance(strength),
    "color": lambda picture, strength: ImageEnhance.Color(picture).enhance(strength),
    "sharpness": lambda picture, strength: ImageEnhance.Sharpness(picture).enhance(strength),
    "posterize": lambda picture, strength: ImageOps.posterize(picture, int(strength)),
    "solarize": lambda picture, strength: ImageOps.solarize(picture, math.ceil(strength)),
}
"""Blur and hue are compared with SciPy and colorsys in the tests of the other augmentations."""

LEVELS = {"identity": 0, "equalize": 0, "posterize": 0, "solarize": 0}
"""By how many of 255 levels Pillow may lie beside; else 2, for it cuts off what is no whole number,
up to twice."""


def pictures(seed: int = 0, shape: tuple[int, ...] = (4, 3, 24, 31)) -> Tensor:
    """Images in whole levels of 255, of a narrow range of values."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(30, 201, shape, generator=random) / 255


@pytest.mark.parametrize("name", BY_PILLOW)
def test_operations_are_pillows(name: str) -> None:
    low, high, operation = OPERATIONS[name]
    batch = pictures()
    batch[1] = batch[1, :, :1, :1]  # of one color
    strength = low + (high - low) * torch.tensor([0.0, 0.3, 0.6, 0.999])
    found = operation(batch, strength)
    for image, one, result in zip(batch, strength.tolist(), found, strict=True):
        picture = Image.fromarray((255 * image).round().byte().permute(1, 2, 0).numpy())
        expected = np.asarray(BY_PILLOW[name](picture, one)).transpose(2, 0, 1)
        np.testing.assert_allclose(255 * result.numpy(), expected, atol=LEVELS.get(name, 2) + 1e-3)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.sampled_from([(24, 31), (1, 1), (1, 9), (2, 3), (3, 3)]),
    batch=st.integers(1, 5),
)
def test_stays_in_the_unit_range_and_leaves_its_input_alone(
    seed: int, size: tuple[int, int], batch: int
) -> None:
    images = torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(seed))
    before = images.clone()
    result = RandAugment(8)(images, torch.Generator().manual_seed(seed))
    assert (result.shape, result.dtype) == (images.shape, torch.float32)
    assert -1e-5 <= float(result.min()) <= float(result.max()) <= 1 + 1e-5
    assert torch.equal(images, before)


def test_operations_of_an_image_are_as_likely_as_each_other_and_up_to_three() -> None:
    # One with a single operation shows which it was.
    one = pictures(shape=(1, 3, 8, 9))
    one[..., 0, 0] = 1  # is solarized by any threshold
    batch = one.expand(6000, 3, 8, 9)
    found = RandAugment(1)(batch, torch.Generator().manual_seed(0))
    counts = {}
    for name, strength in {"identity": 0.0, "autocontrast": 0.0, "equalize": 0.0}.items():
        wanted = OPERATIONS[name][2](batch[:1], torch.tensor([strength]))
        counts[name] = int((found == wanted).flatten(1).all(dim=1).sum())
    counts["others"] = len(batch) - sum(counts.values())
    shares = np.array([1, 1, 1, len(OPERATIONS) - 3]) / len(OPERATIONS)
    assert chisquare(list(counts.values()), 6000 * shares).pvalue > 1e-3

    # With up to three, an image stays as it is if all of one, two or three are the identity.
    found = RandAugment(3)(batch, torch.Generator().manual_seed(1))
    same = (found == batch).flatten(1).all(dim=1).double().mean()
    each = 1 / len(OPERATIONS)
    assert float(same) == pytest.approx((each + each**2 + each**3) / 3, abs=0.006)


def test_the_generator_alone_decides_and_images_differ() -> None:
    batch: Any = pictures(shape=(1, 3, 9, 9)).expand(12, 3, 9, 9)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = RandAugment()(batch, torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(RandAugment()(batch, torch.Generator().manual_seed(0)), first)
    assert len({tuple(image.flatten().tolist()) for image in first}) > 8
