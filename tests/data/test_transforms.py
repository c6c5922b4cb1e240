"""Geometry moves image, label and validity together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mixseg.data.transforms import Example, PairedTransform, resized, to_unit_range
from mixseg.ignore import IGNORE

FILL = (7, 130, 251)


def encoded(height: int, width: int) -> Example:
    """Every pixel is different, and its label is computed from its colour."""
    index = torch.arange(height * width).view(height, width)
    image = torch.stack([index % 199, index // 199 % 256, (index * 37) % 256]).to(torch.uint8)
    return Example(image, label_of(image), torch.ones(height, width, dtype=torch.bool))


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
    image, label, valid = transform(example, seeded(seed))
    size = crop or (height, width)
    assert image.shape == (3, *size)
    assert label.shape == valid.shape == size
    assert (image.dtype, label.dtype, valid.dtype) == (torch.uint8, torch.uint8, torch.bool)
    assert torch.equal(label[valid], label_of(image)[valid])
    # Padding: the fill colour, no label, not valid.
    assert (label[~valid] == IGNORE).all()
    assert (image[:, ~valid] == torch.tensor(FILL).view(3, 1)).all()
    if crop is None:
        assert valid.all()
    else:
        # As much of the image as fits is there, each pixel once.
        assert int(valid.sum()) == min(height, crop[0]) * min(width, crop[1])
        colours = image[:, valid].T.tolist()
        assert len({tuple(colour) for colour in colours}) == len(colours)


@settings(max_examples=30, deadline=None)
@given(
    scale=st.tuples(st.floats(0.4, 1), st.floats(1, 2)),
    resize=st.none() | st.just((32, 48)),
    seed=st.integers(0, 2**32),
)
def test_scaling_keeps_image_and_label_together(
    scale: tuple[float, float], resize: tuple[int, int] | None, seed: int
) -> None:
    # Broad stripes: their middle still has their colour when they are scaled down to five pixels.
    columns = torch.arange(96) // 24
    image = (60 * columns).view(1, 1, 96).expand(3, 64, 96).to(torch.uint8)
    label = columns.view(1, 96).expand(64, 96).to(torch.uint8)
    example = Example(image, label, torch.ones(64, 96, dtype=torch.bool))
    transform = PairedTransform(resize=resize, scale=scale, crop=(40, 60), flip=True, fill=FILL)
    image, label, valid = transform(example, seeded(seed))
    known = label != IGNORE
    assert torch.equal(known, valid)
    # Nearest and bilinear agree but on the borders of stripes.
    difference = (image[0].float() - 60 * label.float()).abs()[valid]
    assert (difference <= 30 + 1).all()
    assert (difference < 1).float().mean() > 0.4


def test_a_resize_is_exact_on_whole_factors() -> None:
    label = torch.tensor([[0, 1], [255, 3]], dtype=torch.uint8)
    image = (label * 50).expand(3, 2, 2)
    valid = torch.tensor([[True, True], [False, True]])
    big = resized(Example(image, label, valid), (6, 4))
    assert torch.equal(big.label, label.repeat_interleave(3, 0).repeat_interleave(2, 1))
    assert torch.equal(big.valid, valid.repeat_interleave(3, 0).repeat_interleave(2, 1))


class TestRandomness:
    FULL = PairedTransform(scale=(0.5, 1.5), crop=(24, 24), flip=True, fill=FILL)

    def test_the_generator_alone_decides(self) -> None:
        example = encoded(30, 30)
        torch.manual_seed(1)
        first = self.FULL(example, seeded(5))
        torch.manual_seed(2)
        before = torch.get_rng_state()
        second = self.FULL(example, seeded(5))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        assert torch.equal(before, torch.get_rng_state())

    def test_the_input_stays_as_it_is(self) -> None:
        example = encoded(30, 30)
        copy = [part.clone() for part in example]
        self.FULL(example, seeded(0))
        assert all(torch.equal(a, b) for a, b in zip(example, copy, strict=True))

    def test_half_of_the_images_are_mirrored(self) -> None:
        example, random = encoded(4, 6), seeded(0)
        transform = PairedTransform(flip=True)
        mirrored = [
            torch.equal(transform(example, random).image, example.image.flip(-1))
            for _ in range(400)
        ]
        assert sum(mirrored) == pytest.approx(200, abs=40)

    def test_crops_reach_every_place(self) -> None:
        example, random = encoded(6, 7), seeded(0)
        transform = PairedTransform(crop=(4, 4))
        first = {tuple(transform(example, random).image[:, 0, 0].tolist()) for _ in range(300)}
        expected = {tuple(example.image[:, y, x].tolist()) for y in range(3) for x in range(4)}
        assert first == expected

    def test_nothing_asked_for_is_nothing_done(self) -> None:
        example = encoded(9, 11)
        result = PairedTransform()(example, seeded(0))
        assert all(torch.equal(a, b) for a, b in zip(example, result, strict=True))


def test_to_unit_range() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8)
    values = to_unit_range(images)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, torch.tensor([0.0, 0.2, 1.0]))
    assert images.tolist() == [0, 51, 255]
