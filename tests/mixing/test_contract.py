"""What every mixer promises; one that registers is tested by being there."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mixseg.ignore import IGNORE
from mixseg.mixing import Mixer, Mixup, paste, with_partner
from mixseg.registry import MIXERS

CLASSES = 6
SHAPES = [(1, 8, 8), (3, 7, 13), (1, 1, 1), (2, 1, 40), (2, 40, 1), (5, 3, 2)]
WITH_MASKS = [name for name in MIXERS if MIXERS[name] is not Mixup]

pytestmark = pytest.mark.filterwarnings("error")
every_mixer = pytest.mark.parametrize("name", WITH_MASKS)


def random_labels(shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Labels of all classes, a fifth of them ignored."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, shape, generator=random)
    return labels.masked_fill(torch.rand(shape, generator=random) < 0.2, IGNORE)


def draw_mask(name: str, labels: Tensor, seed: int = 0, **options: float) -> Tensor:
    paths = {f"mixing.{option}": value for option, value in options.items()}
    mixer: Mixer = MIXERS.build(name, paths, num_classes=CLASSES)
    return mixer.mask(labels, torch.Generator().manual_seed(seed))


@every_mixer
@pytest.mark.parametrize("proportion", [0.0, 0.5, 1.0])
def test_masks_have_the_shape_of_the_labels_which_stay(name: str, proportion: float) -> None:
    for shape in SHAPES:
        for labels in (random_labels(shape), torch.full(shape, IGNORE)):
            before = labels.clone()
            mask = draw_mask(name, labels, proportion=proportion)
            assert (mask.shape, mask.dtype) == (labels.shape, torch.bool)
            assert torch.equal(labels, before)


@every_mixer
def test_the_generator_alone_decides(name: str) -> None:
    labels = random_labels((3, 24, 32))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = draw_mask(name, labels, 7)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, draw_mask(name, labels, 7))
    others = [draw_mask(name, labels, seed) for seed in range(7)]
    if name == "none":
        assert all(mask.all() for mask in others)
    else:
        assert not all(torch.equal(first, mask) for mask in others)


@every_mixer
@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 33), st.integers(1, 33)),
    seed=st.integers(0, 2**32),
)
def test_every_pixel_comes_from_one_source_with_all_that_belongs_to_it(
    name: str, shape: tuple[int, int, int], seed: int
) -> None:
    mask = draw_mask(name, random_labels(shape, seed), seed)
    # Image, label and weight all say which image they are from, and where in it they lay.
    code = torch.arange(mask.numel()).view(shape)
    expected = torch.stack(
        [torch.where(mask[b], code[b], code[(b + 1) % shape[0]]) for b in range(shape[0])]
    )
    assert torch.equal(with_partner(mask, code), expected)
    assert torch.equal(with_partner(mask, code.double() / 7), expected.double() / 7)
    images = torch.stack([code.float(), -code.float(), code + 0.5], dim=1)
    wanted = torch.stack([expected.float(), -expected.float(), expected + 0.5], dim=1)
    assert torch.equal(with_partner(mask, images), wanted)
    if shape[0] == 1:  # its own partner
        assert torch.equal(expected, code)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.bool])
def test_paste_keeps_dtypes_and_broadcasts_over_channels(dtype: torch.dtype) -> None:
    own, other = torch.ones(3, 3, 2, 2, dtype=dtype), torch.zeros(3, 3, 2, 2, dtype=dtype)
    mask = torch.zeros(3, 2, 2, dtype=torch.bool)
    mask[1] = True
    mixed = paste(mask, own, other)
    assert mixed.dtype == dtype
    assert mixed.sum(dim=(1, 2, 3)).tolist() == [0, 12, 0]
