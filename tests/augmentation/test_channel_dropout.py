"""Channel dropout against what its papers promise of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mixseg.augmentation.channel_dropout import channel_dropout, complementary_dropout


def features(batch: int = 6, channels: int = 40) -> Tensor:
    random = torch.Generator().manual_seed(7)
    return 0.5 + torch.rand(batch, channels, 2, 3, generator=random)  # nothing is zero


def factors(changed: Tensor, own: Tensor) -> Tensor:
    """The one factor of each channel, shape (B, K)."""
    quotient = changed / own
    torch.testing.assert_close(quotient, quotient[..., :1, :1].expand_as(quotient))
    return quotient[..., 0, 0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0.0, 0.5, 0.7, 1.0]))
def test_one_of_a_pair_has_twice_what_the_other_lacks(seed: int, share: float) -> None:
    own = features()
    first, second = (
        complementary_dropout(own, second, share, torch.Generator().manual_seed(seed))
        for second in (False, True)
    )
    torch.testing.assert_close(first + second, 2 * own)
    found = factors(first, own)
    dropped = (found != 1).any(dim=1)
    assert int(dropped.sum()) == round(share * len(own))
    assert set(found[dropped].flatten().tolist()) <= {0.0, 2.0}
    if dropped.any():
        assert 0.3 < float(found[dropped].mean()) / 2 < 0.7


def test_which_images_have_it_changes_from_step_to_step() -> None:
    own = features()
    seen = set()
    for seed in range(40):
        changed = complementary_dropout(own, False, 0.5, torch.Generator().manual_seed(seed))
        seen |= set((factors(changed, own) != 1).any(dim=1).nonzero().flatten().tolist())
    assert seen == set(range(len(own)))


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 0.9])
def test_dropped_channels_are_those_of_one_image_and_the_mean_stays(rate: float) -> None:
    own = features(64, 200)
    found = factors(channel_dropout(own, rate, torch.Generator().manual_seed(0)), own)
    kept = found > 0
    torch.testing.assert_close(found[kept], torch.full_like(found[kept], 1 / (1 - rate)))
    # 12,800 channels: four standard errors.
    assert float(kept.float().mean()) == pytest.approx(1 - rate, abs=4 * 0.5 / 12_800**0.5)
    assert rate == 0 or not torch.equal(kept[0], kept[1])
