from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor

from mixseg.augmentation.strong import (
    FORMS,
    StrongAugmentation,
    blurred,
    hue_shifted,
    jittered,
)

EVERYTHING: dict[str, Any] = {
    "color_jitter": 0.25,
    "color_jitter_probability": 1.0,
    "blur": True,
    "blur_probability": 1.0,
}


def images(seed: int = 0, shape: tuple[int, ...] = (2, 3, 24, 31)) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def augmented(settings: dict[str, Any], batch: Tensor, seed: int) -> Tensor:
    return StrongAugmentation(**settings)(batch, torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    strength=st.sampled_from([0.25, 0.5]),
    per=st.sampled_from(["batch", "image"]),
    form=st.sampled_from(sorted(FORMS)),
    size=st.sampled_from([(24, 31), (1, 1), (1, 9), (2, 3)]),
)
def test_stays_in_the_unit_range(
    seed: int, strength: float, per: str, form: str, size: tuple[int, int]
) -> None:
    changes = {"color_jitter": strength, "per": per, "color_jitter_form": form}
    batch = images(seed, (2, 3, *size))
    before = batch.clone()
    result = augmented(EVERYTHING | changes, batch, seed)
    assert (result.shape, result.dtype) == (batch.shape, torch.float32)
    assert 0 <= float(result.min()) <= float(result.max()) <= 1 + 1e-5
    assert not torch.equal(result, batch)
    assert torch.equal(batch, before), "the batch that came in is not changed in place"


def test_the_generator_alone_decides() -> None:
    batch = images()
    torch.manual_seed(1)
    first = augmented(EVERYTHING, batch, 3)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(augmented(EVERYTHING, batch, 3), first)
    assert torch.equal(before, torch.get_rng_state())


def test_probabilities() -> None:
    batch, random = images(shape=(1, 3, 4, 4)), torch.Generator().manual_seed(0)
    assert augmented({}, batch, 0) is batch
    for share, chosen in (
        (0.8, {"color_jitter": 0.25, "color_jitter_probability": 0.8}),
        (0.5, {"color_jitter": 0.25}),
        (0.0, {"color_jitter": 0.25, "color_jitter_probability": 0.0}),
        (0.8, {"blur": True, "blur_probability": 0.8}),
    ):
        augment = StrongAugmentation(**chosen)
        changed = sum(augment(batch, random) is not batch for _ in range(400))
        assert changed == pytest.approx(400 * share, rel=0.2)


def test_switching_the_blur_on_does_not_change_the_jitter() -> None:
    jitter = dict(EVERYTHING, blur=False)
    flat = images(shape=(1, 3, 1, 1)).expand(1, 3, 16, 16)  # a blur does nothing to it
    for seed in range(5):
        torch.testing.assert_close(augmented(jitter, flat, seed), augmented(EVERYTHING, flat, seed))


@pytest.mark.parametrize("sigma", [0.15, 0.3, 0.7, 1.15])
def test_blur_is_a_gaussian_filter(sigma: float) -> None:
    batch = images()
    expected = gaussian_filter(
        batch.double().numpy(), sigma, axes=(2, 3), mode="mirror", truncate=8
    )
    np.testing.assert_allclose(blurred(batch, sigma).numpy(), expected, atol=2e-4)


@pytest.mark.parametrize("turns", [-0.5, -0.13, 0.0, 1 / 6, 0.25, 0.5])
def test_hue_is_that_of_colorsys(turns: float) -> None:
    batch = images(shape=(2, 3, 8, 12))
    batch[0, :, :2] = batch[0, :1, :2]  # gray has no hue
    batch[0, :, 2:4] = batch[0, :, 2:4].round()  # black, white and pure colors
    found = hue_shifted(batch, turns).permute(0, 2, 3, 1).reshape(-1, 3)
    for pixel, result in zip(batch.permute(0, 2, 3, 1).reshape(-1, 3), found, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel.tolist())
        expected = colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value)
        assert result.tolist() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("seed", range(4))
def test_by_default_eight_draws_decide_to_the_bit(seed: int) -> None:
    # Runs from before there was a choice go on as they began.
    batch, random = images(seed), torch.Generator().manual_seed(seed)
    draws = torch.rand(8, generator=torch.Generator().manual_seed(seed)).tolist()
    found = StrongAugmentation(**EVERYTHING)(batch, random)
    expected = blurred(jittered(batch, 0.25, draws[1:5], draws[5]), 0.15 + (1.15 - 0.15) * draws[7])
    assert torch.equal(found, expected)
    after = torch.Generator().manual_seed(seed)
    torch.rand(8, generator=after)
    assert torch.equal(random.get_state(), after.get_state())


def test_an_image_has_draws_of_its_own_and_a_batch_is_jittered_or_not() -> None:
    one = images(shape=(1, 3, 8, 9)).expand(3, 3, 8, 9)
    for per, kinds in (("batch", 1), ("image", 3)):
        chosen = {"color_jitter": 0.25, "per": per}  # type: ignore[arg-type]
        left_alone = 0
        for seed in range(60):
            result = augmented(chosen, one, seed)
            changed = [bool((image != one[0]).any()) for image in result]
            assert all(changed) or not any(changed)
            left_alone += not any(changed)
            if any(changed):
                assert len({tuple(image.flatten().tolist()) for image in result}) == kinds
        assert 15 < left_alone < 45
