"""Weightings against equations 2.13 to 2.15, and what each of them promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from mixseg.registry import WEIGHTINGS
from mixseg.targets import PseudoLabels, Weighting, pseudo_labels

every_weighting = pytest.mark.parametrize("name", list(WEIGHTINGS))


def built(name: str, **options: Any) -> Weighting:
    paths = {f"targets.{option}": value for option, value in options.items()}
    return WEIGHTINGS.build(name, paths, num_classes=4, device=torch.device("cpu"))


def random_case(seed: int, batch: int = 3) -> tuple[PseudoLabels, Tensor]:
    """Pseudo-labels, and the validity mask."""
    random = torch.Generator().manual_seed(seed)
    valid = torch.rand(batch, 6, 7, generator=random) < 0.8
    return pseudo_labels(
        (5 * torch.randn(batch, 4, 6, 7, generator=random)).softmax(1), valid
    ), valid


@settings(max_examples=40)
@given(
    name=st.sampled_from(["threshold-proportional", "pixelwise", "sigmoid", "constant"]),
    per=st.sampled_from(["batch", "image"]),
    threshold=st.sampled_from([0.0, 0.5, 0.9, 0.968, 1.0]),
    step=st.sampled_from([0, 1, 99, 100, 101, 10**6]),
    seed=st.integers(0, 2**32),
)
def test_agrees_with_the_equations(
    name: str, per: str, threshold: float, step: int, seed: int
) -> None:
    pseudo, valid = random_case(seed)
    found = built(name, per=per, threshold=threshold, ramp_steps=100)(pseudo, valid, step)
    confidence = pseudo.confidence.numpy()
    confident = [
        [c > threshold for c, v in zip(image.flat, mask.flat, strict=True) if v]
        for image, mask in zip(confidence, valid.numpy(), strict=True)
    ]
    together = [one for image in confident for one in image]
    for (b, y, x), value in np.ndenumerate(confidence):
        share = confident[b] if per == "image" else together
        expected = {
            "threshold-proportional": sum(share) / max(1, len(share)),
            "pixelwise": float(value > threshold),
            "sigmoid": 1.0 if step >= 100 else math.exp(-5 * (1 - step / 100) ** 2),
            "constant": 1.0,
        }[name]
        assert float(found[b, y, x]) == pytest.approx(expected, rel=1e-6)


@every_weighting
def test_weights_lie_in_the_unit_interval_and_are_pure(name: str) -> None:
    weighting = built(name)
    for batch in (1, 4):
        pseudo, valid = random_case(batch, batch)
        before = [one.clone() for one in (*pseudo[:2], valid)]
        for step in (0, 1, 5000, 10_000, 40_000):
            weights = weighting(pseudo, valid, step)
            assert (weights.shape, weights.dtype) == (valid.shape, torch.float32)
            assert 0 <= float(weights.min()) <= float(weights.max()) <= 1
            if not weighting.state:
                assert torch.equal(weighting(pseudo, valid, step), weights)
        assert all(map(torch.equal, before, (*pseudo[:2], valid)))


@every_weighting
def test_padding_changes_no_weight_inside_the_image(name: str) -> None:
    pseudo, _ = random_case(2)
    everywhere = torch.ones_like(pseudo.labels, dtype=torch.bool)
    padded, valid = (
        pseudo.mapped(lambda one: functional.pad(one, (2, 3, 1, 4))),
        functional.pad(everywhere, (2, 3, 1, 4)),
    )
    inside = built(name, threshold=0.8)(pseudo, everywhere, 100)
    found = built(name, threshold=0.8)(padded, valid, 100)[:, 1:-4, 2:-3]
    torch.testing.assert_close(found, inside)
    nothing = torch.zeros_like(everywhere)
    assert torch.isfinite(built(name, per="image")(pseudo, nothing, 0)).all()
