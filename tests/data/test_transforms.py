"""Geometry moves image, label and validity together."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import chisquare
from torch import Tensor

from mixseg.data.transforms import (
    Example,
    Interpolation,
    PairedTransform,
    resized,
    rotated,
    to_unit_range,
)
from mixseg.ignore import IGNORE

FILL = (7, 130, 251)


def encoded(height: int, width: int) -> Example:
    """Every pixel is different, its label is computed from its color, its instance from that."""
    index = torch.arange(height * width).view(height, width)
    image = torch.stack([index % 199, index // 199 % 256, (index * 37) % 256]).to(torch.uint8)
    valid, label = torch.ones(height, width, dtype=torch.bool), label_of(image)
    return Example(image, label, valid, 1000 * label.int() + 7)


def equal(one: Example, other: Example) -> bool:
    pairs = zip(one, other, strict=True)
    return all(a is not None and b is not None and torch.equal(a, b) for a, b in pairs)


def label_of(image: Tensor) -> Tensor:
    values = image.long()
    return ((values[0] + 3 * values[1]) % 19).to(torch.uint8)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    crop=st.none() | st.tuples(st.integers(1, 60), st.integers(1, 60)),
    flip=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_pixels_keep_their_labels(
    height: int, width: int, crop: tuple[int, int] | None, flip: bool, seed: int
) -> None:
    example = encoded(height, width)
    transform = PairedTransform(crop=crop, flip=flip, fill=FILL)
    image, label, valid, instances = transform(example, seeded(seed))
    assert instances is not None and instances.dtype == torch.int32
    size = crop or (height, width)
    assert image.shape == (3, *size)
    assert label.shape == valid.shape == instances.shape == size
    assert (image.dtype, label.dtype, valid.dtype) == (torch.uint8, torch.uint8, torch.bool)
    assert torch.equal(label[valid], label_of(image)[valid])
    # Padding: the fill color, no label, not valid.
    assert (label[~valid] == IGNORE).all() and not instances[~valid].any()
    assert torch.equal(instances[valid], 1000 * label[valid].int() + 7)
    assert (image[:, ~valid] == torch.tensor(FILL).view(3, 1)).all()
    if crop is None:
        assert valid.all()
    else:
        # As much of the image as fits is there, each pixel once.
        assert int(valid.sum()) == min(height, crop[0]) * min(width, crop[1])
        colors = image[:, valid].T.tolist()
        assert len({tuple(color) for color in colors}) == len(colors)


@pytest.mark.parametrize("seed", range(3))
def test_by_default_these_draws_decide_to_the_bit(seed: int) -> None:
    # Runs from before there was a choice go on as they began.
    example, random = encoded(50, 70), seeded(seed)
    transform = PairedTransform(scale=(0.5, 1.5), crop=(48, 60), flip=True, fill=FILL)
    found = transform(example, seeded(seed))
    factor = 0.5 + float(torch.rand((), generator=random))
    height, width = size = round(50 * factor), round(70 * factor)
    scaled = resized(example, size)
    canvas = torch.full((3, max(height, 48), max(width, 60)), 0, dtype=torch.uint8)
    canvas[:] = torch.tensor(FILL, dtype=torch.uint8).view(3, 1, 1)
    top, left = 0, 0
    if height < 48 or width < 60:
        top, left = (
            int(torch.randint(max(0, missing) + 1, (), generator=random))
            for missing in (48 - height, 60 - width)
        )
    canvas[:, top : top + height, left : left + width] = scaled.image
    top, left = (
        int(torch.randint(larger + 1, (), generator=random))
        for larger in (canvas.shape[1] - 48, canvas.shape[2] - 60)
    )
    expected = canvas[:, top : top + 48, left : left + 60]
    if float(torch.rand((), generator=random)) < 0.5:
        expected = expected.flip(-1)
    assert torch.equal(found.image, expected)


def test_scale_factors_in_steps() -> None:
    # An image of ten pixels gets 5 to 16 by the factors 0.5, 0.6 ... 1.6.
    example, random = encoded(10, 10), seeded(0)
    transform = PairedTransform(scale=(0.5, 1.6), scale_step=0.1)
    sizes = [transform(example, random).label.shape for _ in range(1200)]
    counts = [sizes.count((side, side)) for side in range(5, 17)]  # type: ignore[arg-type]
    assert sum(counts) == 1200
    assert chisquare(counts).pvalue > 1e-3


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 50), width=st.integers(1, 50), seed=st.integers(0, 2**32))
def test_padding_at_the_end(height: int, width: int, seed: int) -> None:
    example = encoded(height, width)
    result = PairedTransform(crop=(30, 40), padding="end", fill=FILL)(example, seeded(seed))
    rows, columns = min(height, 30), min(width, 40)
    expected = torch.zeros(30, 40, dtype=torch.bool)
    expected[:rows, :columns] = True
    assert torch.equal(result.valid, expected)
    assert torch.equal(result.label == IGNORE, ~expected)
    assert (result.image[:, ~expected] == torch.tensor(FILL).view(3, 1)).all()
    # What is there is a window of the image, at a random place where it is larger.
    windows = example.image.unfold(1, rows, 1).unfold(2, columns, 1)
    same = (windows == result.image[:, None, None, :rows, :columns]).all(dim=(0, 3, 4))
    assert same.any()


@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_interpolation_is_that_of_pillow(name: Interpolation) -> None:
    example = encoded(60, 80)
    picture = Image.fromarray(example.image.permute(1, 2, 0).numpy())
    for size in ((17, 91), (100, 120)):
        found = PairedTransform(resize=size, interpolation=name)(example, seeded(0))
        distances = {}
        for kind in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
            expected = torch.from_numpy(np.array(picture.resize(size[::-1], kind))).permute(2, 0, 1)
            distances[kind.name.lower()] = (found.image.int() - expected.int()).abs().float().mean()
        # Torch and Pillow round the weights of a resize of 8-bit images differently.
        assert distances.pop(name) < 0.5
        assert min(distances.values()) > 2
        assert torch.equal(found.label, PairedTransform(resize=size)(example, seeded(0)).label)


def test_a_resize_is_exact_on_whole_factors() -> None:
    label = torch.tensor([[0, 1], [255, 3]], dtype=torch.uint8)
    image = (label * 50).expand(3, 2, 2)
    valid = torch.tensor([[True, True], [False, True]])
    big = resized(Example(image, label, valid), (6, 4))
    assert torch.equal(big.label, label.repeat_interleave(3, 0).repeat_interleave(2, 1))
    assert torch.equal(big.valid, valid.repeat_interleave(3, 0).repeat_interleave(2, 1))


def test_instances_follow_labels_through_every_step() -> None:
    transform = PairedTransform(
        resize=(50, 70), scale=(0.5, 1.5), rotate=20.0, crop=(40, 40), flip=True, fill=FILL
    )
    for seed in range(20):
        _, label, valid, instances = transform(encoded(60, 80), seeded(seed))
        assert instances is not None
        assert torch.equal(instances, (1000 * label.int() + 7).masked_fill(~valid, 0))


class TestRotation:
    # The last angle is no special case of torchvision: computed like any other.
    @pytest.mark.parametrize("angle", [-90.0, 0.0, 90.0, 180.0, 90 + 1e-5])
    def test_right_angles_of_a_square_lose_nothing(self, angle: float) -> None:
        example = encoded(20, 20)
        result = rotated(example, angle, FILL)
        for part, before in zip(result, example, strict=True):
            assert part is not None and before is not None
            assert part.dtype == before.dtype
            assert torch.equal(part, torch.rot90(before, round(angle / 90), (-2, -1)))

    @settings(max_examples=40, deadline=None)
    @given(
        height=st.integers(1, 40),
        width=st.integers(1, 40),
        angle=st.floats(-180, 180),
        value=st.integers(0, 254),
    )
    def test_inside_and_outside(self, height: int, width: int, angle: float, value: int) -> None:
        image = torch.full((3, height, width), value, dtype=torch.uint8)
        label = torch.full((height, width), value, dtype=torch.uint8)
        valid = torch.ones(height, width, dtype=torch.bool)
        image, label, valid, _ = rotated(Example(image, label, valid), angle, FILL)
        # One color stays that color up to the border of the image, where it becomes the fill.
        assert (image[:, valid] == value).all() and (label[valid] == value).all()
        assert (image[:, ~valid] == torch.tensor(FILL).view(3, 1)).all()
        assert (label[~valid] == IGNORE).all()
        # Where each pixel came from, counter-clockwise with y downwards.
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        y, x = y - (height - 1) / 2, x - (width - 1) / 2
        sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
        from_x, from_y = cosine * x - sine * y, sine * x + cosine * y
        inside = torch.maximum(from_x.abs() - width / 2, from_y.abs() - height / 2)
        assert valid[inside < -1e-3].all() and not valid[inside > 1e-3].any()

    def test_angles_are_uniform(self) -> None:
        # How far a bright point on the right of the middle has moved up says the angle.
        image = torch.zeros(3, 101, 101, dtype=torch.uint8)
        label = torch.zeros(101, 101, dtype=torch.uint8)
        label[49:52, 99] = 1
        example, random = Example(image, label, torch.ones(101, 101) > 0), seeded(0)
        transform = PairedTransform(rotate=40.0)
        found = []
        for _ in range(300):
            y, x = (transform(example, random).label == 1).nonzero().float().mean(0) - 50
            found.append(math.degrees(math.atan2(-y, x)))
        assert -41 < min(found) < -37 and 37 < max(found) < 41
        shares = torch.histc(torch.tensor(found), 4, -41, 41) / 300
        torch.testing.assert_close(shares, torch.full((4,), 0.25), atol=0.08, rtol=0)

    def test_before_the_crop(self) -> None:
        # A crop as large as the image shows the corners that were turned in; a larger one pads.
        example = encoded(40, 40)
        transform = PairedTransform(rotate=180.0, crop=(40, 40), fill=FILL)
        results = [transform(example, seeded(seed)) for seed in range(5)]
        assert all(result.image.shape == (3, 40, 40) for result in results)
        assert not all(result.valid.all() for result in results)
        small = PairedTransform(rotate=180.0, crop=(60, 60), fill=FILL)(example, seeded(1))
        assert 1100 < int(small.valid.sum()) <= 1600
        assert torch.equal(small.label == IGNORE, ~small.valid)


class TestRandomness:
    FULL = PairedTransform(scale=(0.5, 1.5), rotate=20.0, crop=(24, 24), flip=True, fill=FILL)

    def test_the_generator_alone_decides_and_the_input_stays(self) -> None:
        example = encoded(30, 30)
        copy = example.mapped(torch.clone)
        torch.manual_seed(1)
        first = self.FULL(example, seeded(5))
        torch.manual_seed(2)
        before = torch.get_rng_state()
        second = self.FULL(example, seeded(5))
        assert equal(first, second)
        assert torch.equal(before, torch.get_rng_state())
        assert equal(example, copy)
        unchanged = PairedTransform()(example, seeded(0))
        assert equal(example, unchanged)

    def test_crops_reach_every_place_and_half_are_mirrored(self) -> None:
        example, random = encoded(6, 7), seeded(0)
        transform = PairedTransform(crop=(4, 4), flip=True)
        found = [tuple(transform(example, random).image[:, 0, 0].tolist()) for _ in range(600)]
        corners = [
            {tuple(example.image[:, y, x + right].tolist()) for y in range(3) for x in range(4)}
            for right in (0, 3)
        ]
        assert set(found) == corners[0] | corners[1]
        mirrored = sum(one in corners[1] - corners[0] for one in found)
        # Of four places of a crop one has its right corner where another has its left one.
        assert mirrored == pytest.approx(600 * 3 / 8, abs=60)


def test_to_unit_range() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8)
    values = to_unit_range(images)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, torch.tensor([0.0, 0.2, 1.0]))
    assert images.tolist() == [0, 51, 255]
