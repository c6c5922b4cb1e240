"""What every style promises; one that registers is tested by being there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mixseg.registry import STYLES
from mixseg.styles import Style

pytestmark = pytest.mark.filterwarnings("error")
every_style = pytest.mark.parametrize("name", list(STYLES))


def images(seed: int, *shape: int) -> Tensor:
    """Random colors around a color of each image, of another spread in each channel."""
    random = torch.Generator().manual_seed(seed)
    middle = 0.3 + 0.4 * torch.rand(shape[0], 3, 1, 1, generator=random)
    spread = torch.tensor((0.2, 0.1, 0.15)).view(1, 3, 1, 1)
    return (middle + spread * torch.randn(shape[0], 3, *shape[1:], generator=random)).clamp(0, 1)


def build(name: str, **options: Any) -> Style:
    return STYLES.build(name, {f"style.{key}": value for key, value in options.items()})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@every_style
@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 21), st.integers(1, 21)),
    like_size=st.tuples(st.integers(1, 21), st.integers(1, 21)),
    counts=st.sampled_from([(1, 1), (3, 2), (2, 3)]),
    flat=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_images_of_any_size_stay_images(
    name: str,
    size: tuple[int, int],
    like_size: tuple[int, int],
    counts: tuple[int, int],
    flat: bool,
    seed: int,
) -> None:
    own, like = images(seed, counts[0], *size), images(seed + 1, counts[1], *like_size)
    if flat:  # one color, with no spread at all
        own[0], like[-1] = 0.25, 1.0
    random = torch.Generator().manual_seed(seed)
    valid = torch.rand(counts[0], *size, generator=random) < 0.7
    like_valid = torch.rand(counts[1], *like_size, generator=random) < 0.7
    before = own.clone(), like.clone()
    for masks in ((None, None), (valid, like_valid)):
        result = build(name)(own, like, random, *masks)
        assert (result.shape, result.dtype) == (own.shape, torch.float32)
        assert 0 <= float(result.min()) <= float(result.max()) <= 1
    assert torch.equal(own, before[0]) and torch.equal(like, before[1])


@every_style
def test_the_style_of_an_image_itself_changes_nothing(name: str) -> None:
    own = images(0, 3, 25, 31)
    valid = torch.rand(3, 25, 31, generator=generator()) < 0.8
    for masks in ((None, None), (valid, valid)):
        found = build(name)(own, own.clone(), generator(), *masks)
        torch.testing.assert_close(found, own, rtol=0, atol=2e-5)


@every_style
def test_an_image_has_the_style_of_its_turn_and_depends_on_no_other(name: str) -> None:
    own, like = images(0, 5, 16, 20), images(1, 2, 24, 24)
    found = build(name)(own, like, generator())
    for b in range(5):
        alone = build(name)(own[b : b + 1], like[b % 2 : b % 2 + 1], generator())
        torch.testing.assert_close(found[b : b + 1], alone, rtol=0, atol=1e-5)


@every_style
def test_padding_does_not_count_and_stays(name: str) -> None:
    own, like = images(0, 2, 32, 32), images(1, 2, 32, 32)
    valid, like_valid = torch.zeros(2, 2, 32, 32, dtype=torch.bool)
    valid[:, :20], like_valid[:, :, 8:] = True, True
    found = []
    for padding in (0.0, 1.0):
        padded = own.where(valid.unsqueeze(1), padding)
        padded_like = like.where(like_valid.unsqueeze(1), padding)
        found.append(build(name)(padded, padded_like, generator(), valid, like_valid))
        outside = ~valid.unsqueeze(1).expand_as(own)
        assert (found[-1][outside] == padding).all()
    inside = valid.unsqueeze(1)
    torch.testing.assert_close(found[0] * inside, found[1] * inside, rtol=0, atol=1e-5)
    assert ((found[0] - own) * inside).abs().max() > 0.05, "the style is another one"


@every_style
def test_the_generator_alone_decides(name: str) -> None:
    own, like = images(0, 3, 20, 20), images(1, 3, 20, 20)
    changes = {"drawn": True, "beta": 0.3} if name == "fourier" else {}
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build(name, **changes)(own, like, generator(3))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(build(name, **changes)(own, like, generator(3)), first)
