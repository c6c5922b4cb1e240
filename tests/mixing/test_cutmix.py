from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import Tensor

from mixseg.errors import ConfigError
from mixseg.mixing import CutMix


def bounds(mask: Tensor) -> tuple[int, int, int, int]:
    """Top, left, height and width of the true pixels of one mask."""
    rows, columns = mask.any(dim=1).nonzero().flatten(), mask.any(dim=0).nonzero().flatten()
    top, left = int(rows[0]), int(columns[0])
    return top, left, int(rows[-1]) - top + 1, int(columns[-1]) - left + 1


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(8, 70),
    width=st.integers(8, 70),
    proportion=st.sampled_from([0.25, 0.5, 0.8]),
    seed=st.integers(0, 2**32),
)
def test_one_rectangle_of_the_right_area_and_width(
    height: int, width: int, proportion: float, seed: int
) -> None:
    labels = torch.zeros(3, height, width, dtype=torch.int64)
    masks = CutMix(proportion).mask(labels, torch.Generator().manual_seed(seed))
    for mask in masks:
        _, _, box_height, box_width = bounds(mask)
        assert int(mask.sum()) == box_height * box_width, "the true pixels fill their rectangle"
        # Height and width are whole numbers: the area may miss by half a row, or by half a column
        # where the rectangle is as high as the image.
        rounding = max(box_width, height if box_height == height else 0) / 2 + 1e-3
        assert abs(box_height * box_width - proportion * height * width) <= rounding
        assert proportion * width - 0.5 <= box_width <= width


def test_width_and_position_are_uniform() -> None:
    height, width, draws = 100, 400, 1500
    labels = torch.zeros(draws, height, width, dtype=torch.uint8)
    masks = CutMix(0.5).mask(labels, torch.Generator().manual_seed(0))
    boxes = torch.tensor([bounds(mask) for mask in masks], dtype=torch.float64)
    top, left, box_height, box_width = boxes.unbind(1)
    assert kstest((box_width / width).numpy(), "uniform", args=(0.5, 0.5)).pvalue > 1e-3
    # A draw inside the cell of a whole number makes the comparison with a continuous law exact.
    jitter = torch.rand(2, draws, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for start, size, extent, noise in (
        (left, box_width, width, jitter[0]),
        (top, box_height, height, jitter[1]),
    ):
        place = ((start + noise) / (extent - size + 1)).numpy()
        assert kstest(place, "uniform").pvalue > 1e-3


def test_everything_or_nothing() -> None:
    labels, random = torch.zeros(2, 9, 13, dtype=torch.int64), torch.Generator().manual_seed(0)
    assert CutMix(1.0).mask(labels, random).all()
    assert not CutMix(0.0).mask(labels, random).any()


def partners_boxes(
    height: int, width: int, draws: int, **options: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height and width of rectangles of partners, float64."""
    labels = torch.zeros(draws, height, width, dtype=torch.uint8)
    masks = CutMix(**options).mask(labels, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    boxes = torch.tensor([bounds(~mask) for mask in masks], dtype=torch.float64)
    top, left, box_height, box_width = boxes.unbind(1)
    assert torch.equal((~masks).sum(dim=(1, 2)).double(), box_height * box_width)
    return top, left, box_height, box_width


def test_area_and_aspect_of_the_partners_rectangle_are_uniform() -> None:
    # Flat ranges that fit into the image: nothing is cut off from them.
    top, left, height, width = partners_boxes(400, 500, 700, area=(0.05, 0.2), aspect=(0.5, 2.5))
    area = (height * width / (400 * 500)).numpy()
    assert kstest(area, "uniform", args=(0.05, 0.15)).pvalue > 1e-3
    assert kstest((height / width).numpy(), "uniform", args=(0.5, 2)).pvalue > 1e-3
    noise = torch.rand(2, 700, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for start, size, extent, one in ((left, width, 500, noise[0]), (top, height, 400, noise[1])):
        assert kstest(((start + one) / (extent - size + 1)).numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("size", [(64, 256), (256, 64), (101, 101)])
def test_a_rectangle_that_would_not_fit_has_another_shape_but_its_area(
    size: tuple[int, int],
) -> None:
    _, _, height, width = partners_boxes(*size, 400, area=(0.02, 0.4))
    shares = (height * width / (size[0] * size[1])).numpy()
    assert kstest(shares, "uniform", args=(0.02, 0.38)).pvalue > 1e-3
    aspect = height / width
    assert 0.3 * 0.8 < float(aspect.min()) < float(aspect.max()) < 3.33 * 1.2
    # The whole image is of the aspect that it has.
    _, _, height, width = partners_boxes(*size, 3, area=(1, 1))
    assert ((height == size[0]) & (width == size[1])).all()


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    area=st.floats(0, 1),
    aspect=st.sampled_from([(0.01, 0.01), (0.3, 3.33), (100.0, 100.0)]),
    seed=st.integers(0, 2**32),
)
def test_a_rectangle_of_any_size_covers_its_area(
    height: int, width: int, area: float, aspect: tuple[float, float], seed: int
) -> None:
    labels = torch.zeros(4, height, width, dtype=torch.uint8)
    mixer = CutMix(area=(area, area), aspect=aspect)
    for mask in mixer.mask(labels, torch.Generator().manual_seed(seed)):
        covered = int((~mask).sum())
        if covered:
            _, _, box_height, box_width = bounds(~mask)
            assert covered == box_height * box_width
        # A whole number of columns, and as many rows: half of one of either may be missing.
        assert abs(covered - area * height * width) <= max(height, width) / 2 + 1e-3


def test_ranges_in_falling_order_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"mixing\.area.*\(0.4, 0.02\)"):
        CutMix(area=(0.4, 0.02))
    with pytest.raises(ConfigError, match=r"mixing\.aspect"):
        CutMix(area=(0.02, 0.4), aspect=(3, 1))
