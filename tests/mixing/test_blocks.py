from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mixseg.mixing import block_mask

CPU = torch.device("cpu")


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    block=st.integers(1, 80),
    seed=st.integers(0, 2**32),
)
def test_blocks_are_kept_or_masked_as_a_whole(
    height: int, width: int, block: int, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    mask = block_mask(3, height, width, block, 0.7, random, CPU)
    assert (mask.shape, mask.dtype) == ((3, height, width), torch.bool)
    for y in range(0, height, block):
        for x in range(0, width, block):
            inside = mask[:, y : y + block, x : x + block].flatten(1)
            assert (inside.all(dim=1) | ~inside.any(dim=1)).all()


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.7, 1.0])
def test_blocks_are_drawn_on_their_own_and_as_many_as_the_ratio_says(ratio: float) -> None:
    mask = block_mask(50, 640, 640, 64, ratio, torch.Generator().manual_seed(0), CPU)
    blocks = mask[:, ::64, ::64].flatten(1).double().numpy()
    assert 1 - blocks.mean() == pytest.approx(ratio, abs=0.02)
    if 0 < ratio < 1:
        # Neither blocks of an image nor images among themselves go together.
        between = np.corrcoef(blocks)[np.triu_indices(50, 1)]
        assert abs(between.mean()) < 0.01
        per_image = blocks.sum(axis=1).var(ddof=1)
        assert per_image == pytest.approx(100 * ratio * (1 - ratio), rel=0.5)
