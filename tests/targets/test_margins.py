"""Margins whose pseudo-labels do not count."""

from __future__ import annotations

import pytest
import torch

from mixseg.targets.margins import Margins, inside


@pytest.mark.parametrize(
    ("margins", "rows", "columns"),
    [
        ((3, 5, 0, 0), range(3, 15), range(40)),  # pixels
        ((0.1, 0.25, 0.05, 0), range(2, 15), range(2, 40)),  # shares of 20 rows, 40 columns
        ((1, 0.5, 10, 0.5), range(1, 10), range(10, 20)),  # 1 is a pixel
        ((0, 0, 0, 0), range(20), range(40)),
        ((12, 12, 0, 0), range(0), range(0)),  # nothing is left
        ((4096, 0, 0, 0), range(0), range(0)),
    ],
)
def test_rows_and_columns_that_count(margins: Margins, rows: range, columns: range) -> None:
    valid = torch.rand(2, 20, 40, generator=torch.Generator().manual_seed(0)) < 0.8
    before, found = valid.clone(), inside(margins, valid)
    for b in range(2):
        for y in range(20):
            for x in range(40):
                expected = bool(valid[b, y, x]) and y in rows and x in columns
                assert bool(found[b, y, x]) == expected
    assert torch.equal(valid, before)


def test_none_is_the_whole_image() -> None:
    valid = torch.ones(1, 3, 4, dtype=torch.bool)
    assert inside(None, valid) is valid
