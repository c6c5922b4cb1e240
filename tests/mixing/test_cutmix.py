from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import Tensor

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
