from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from mixseg.config.sections import TargetSettings
from mixseg.errors import ConfigError
from mixseg.targets import WEIGHTINGS, build_weighting


def random_case(seed: int, batch: int = 3) -> tuple[Tensor, Tensor]:
    """Confidences, 0 in the padding as pseudo_labels gives them, and the validity mask."""
    random = torch.Generator().manual_seed(seed)
    valid = torch.rand(batch, 6, 7, generator=random) < 0.8
    confidence = torch.rand(batch, 6, 7, generator=random) ** 0.1
    return confidence * valid, valid


def reference(
    name: str, settings: TargetSettings, confidence: NDArray, valid: NDArray, step: int
) -> NDArray:
    """Equations 2.13 to 2.15, pixel by pixel."""
    weights = np.zeros_like(confidence)
    confident = [
        [c > settings.threshold for c, v in zip(image.flat, mask.flat, strict=True) if v]
        for image, mask in zip(confidence, valid, strict=True)
    ]
    together = [one for image in confident for one in image]
    for (b, y, x), value in np.ndenumerate(confidence):
        share = confident[b] if settings.per == "image" else together
        weights[b, y, x] = {
            "threshold-proportional": sum(share) / max(1, len(share)),
            "pixelwise": 1.0 if value > settings.threshold else 0.0,
            "sigmoid": 1.0
            if step >= settings.ramp_steps
            else math.exp(-5 * (1 - step / settings.ramp_steps) ** 2),
            "constant": 1.0,
        }[name]
    return weights


@settings(max_examples=40, deadline=None)
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
    chosen = TargetSettings(weighting=name, per=per, threshold=threshold, ramp_steps=100)  # type: ignore[arg-type]
    confidence, valid = random_case(seed)
    weights = build_weighting(chosen)(confidence, valid, step)
    expected = reference(name, chosen, confidence.numpy(), valid.numpy(), step)
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(WEIGHTINGS))
class TestEveryWeighting:
    @pytest.mark.parametrize("batch", [1, 4])
    @pytest.mark.parametrize("per", ["batch", "image"])
    def test_weights_lie_in_the_unit_interval(self, name: str, batch: int, per: str) -> None:
        chosen = TargetSettings(weighting=name, per=per)  # type: ignore[arg-type]
        confidence, valid = random_case(batch, batch)
        for step in (0, 1, 5000, 10_000, 40_000):
            weights = build_weighting(chosen)(confidence, valid, step)
            assert weights.shape == confidence.shape
            assert weights.dtype == torch.float32
            assert 0 <= float(weights.min()) <= float(weights.max()) <= 1

    def test_is_a_pure_function(self, name: str) -> None:
        weighting = build_weighting(TargetSettings(weighting=name))
        confidence, valid = random_case(0)
        before = confidence.clone()
        first = weighting(confidence, valid, 10).clone()
        weighting(*random_case(1), 20_000)
        assert torch.equal(weighting(confidence, valid, 10), first)
        assert torch.equal(confidence, before)

    def test_padding_changes_no_weight_inside_the_image(self, name: str) -> None:
        weighting = build_weighting(TargetSettings(weighting=name, threshold=0.8))
        confidence, _ = random_case(2)
        everywhere = torch.ones_like(confidence, dtype=torch.bool)
        inside = weighting(confidence, everywhere, 100)
        padded = torch.nn.functional.pad(confidence, (2, 3, 1, 4))
        valid = torch.nn.functional.pad(everywhere, (2, 3, 1, 4))
        torch.testing.assert_close(weighting(padded, valid, 100)[:, 1:-4, 2:-3], inside)

    def test_an_image_of_padding_is_no_division_by_zero(self, name: str) -> None:
        nothing = torch.zeros(2, 4, 4)
        for per in ("batch", "image"):
            chosen = TargetSettings(weighting=name, per=per)  # type: ignore[arg-type]
            assert torch.isfinite(build_weighting(chosen)(nothing, nothing.bool(), 0)).all()


def test_the_ramp_of_figure_2_9() -> None:
    weighting = build_weighting(TargetSettings(weighting="sigmoid", ramp_steps=10_000))
    confidence, valid = random_case(0)
    curve = [float(weighting(confidence, valid, step)[0, 0, 0]) for step in range(0, 20_001, 500)]
    assert curve[0] == pytest.approx(math.exp(-5))
    assert curve[10] == pytest.approx(math.exp(-1.25))
    assert curve == sorted(curve)
    assert curve[20:] == [1.0] * 21


def test_unknown_weighting_names_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"unknown weighting 'pixel-wise'.*'pixelwise'"):
        build_weighting(TargetSettings(weighting="pixel-wise"))
