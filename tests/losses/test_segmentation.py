"""Section IV of Lourenço against numpy, and what every supervised loss promises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mixseg.ignore import IGNORE
from mixseg.losses import (
    build_loss,
    dice_loss,
    focal_loss,
    ohem_loss,
    segmentation_cross_entropy,
)
from mixseg.losses.supervised import SupervisedLoss
from mixseg.registry import LOSSES

CLASSES = 4
SHARES = torch.tensor([0.6, 0.3, 0.1, 0.0])


class Case(NamedTuple):
    """A loss by its name, and what of its options differs from the defaults."""

    name: str
    options: Mapping[str, Any] = MappingProxyType({})

    def built(self, shares: Tensor | None = None) -> SupervisedLoss:
        paths = {f"supervised_loss.{option}": value for option, value in self.options.items()}
        return build_loss(self.name, paths, SHARES if shares is None else shares)

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.options.items())])


# Each loss with its defaults, and again with other settings.
CASES = [
    *(Case(name) for name in LOSSES),
    Case("cross-entropy", {"label_smoothing": 0.2}),
    Case("balanced-cross-entropy", {"label_smoothing": 0.2}),
    Case("focal", {"gamma": 0.5}),
    Case("ohem", {"ohem_threshold": 1.5, "ohem_share": 0.5}),
    Case("ohem", {"ohem_threshold": 1.5, "ohem_share": 0.0}),
    Case("ohem", {"ohem_threshold": 100.0, "ohem_share": 0.3}),
    Case("dice", {"dice": "sum"}),
    Case("dice", {"dice": "all"}),
    Case("0.25*ohem + cross-entropy + 2*dice", {"ohem_threshold": 1.5}),
]
DEFAULTS = {one.parameter: one.default for name in LOSSES for one in LOSSES.options(name)}
every_case = pytest.mark.parametrize("case", CASES, ids=str)
both_targets = pytest.mark.parametrize("kind", ["labels", "distributions"])


def random_case(seed: int, kind: str = "labels") -> tuple[Tensor, Tensor, Tensor]:
    """Logits, targets, and which pixels have one."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, CLASSES, 3, 5, generator=random)
    known = torch.rand(2, 3, 5, generator=random) < 0.7
    # The last class is often in no label.
    labels = torch.randint(CLASSES - seed % 2, (2, 3, 5), generator=random)
    if kind == "labels":
        return logits, labels.masked_fill(~known, IGNORE), known
    other = torch.randint(CLASSES, (2, 3, 5), generator=random)
    return logits, (0.7 * hot(labels) + 0.3 * hot(other)) * known.unsqueeze(1), known


def hot(labels: Tensor) -> Tensor:
    return functional.one_hot(labels, CLASSES).permute(0, 3, 1, 2).float()


def counted_pixels(logits: Tensor, targets: Tensor) -> list[tuple[NDArray, NDArray]]:
    """Probabilities and wanted distribution of each pixel that counts, in double precision."""
    pixels = []
    for b, y, x in np.ndindex(logits.shape[0], *logits.shape[2:]):
        powers = np.exp(logits[b, :, y, x].double().numpy())
        if targets.is_floating_point():
            wanted = targets[b, :, y, x].double().numpy()
        else:
            wanted = np.array([float(targets[b, y, x] == c) for c in range(CLASSES)])
        if wanted.any():
            pixels.append((powers / powers.sum(), wanted))
    return pixels


def cross_entropies(pixels: list[tuple[NDArray, NDArray]], factors: NDArray) -> list[float]:
    return [-float((factors * wanted * np.log(given)).sum()) for given, wanted in pixels]


def formula(name: str, case: Case, pixels: list[tuple[NDArray, NDArray]]) -> float:
    """Equations 2 to 7 with loops."""
    every, chosen = np.ones(CLASSES), DEFAULTS | case.options
    smoothing = chosen["label_smoothing"]
    smoothed = [(given, (1 - smoothing) * wanted + smoothing / CLASSES) for given, wanted in pixels]
    if name == "cross-entropy":
        return float(np.mean(cross_entropies(smoothed, every)))
    if name == "balanced-cross-entropy":
        weights = np.array([1 / math.log(1.02 + float(share)) for share in SHARES])
        return sum(cross_entropies(smoothed, weights)) / len(pixels)
    if name == "focal":
        gamma = chosen["gamma"]
        return float(np.mean([-((1 - p) ** gamma * q * np.log(p)).sum() for p, q in pixels]))
    if name == "ohem":
        losses = sorted(cross_entropies(pixels, every), reverse=True)
        least = math.ceil(chosen["ohem_share"] * len(losses))
        taken = [x for i, x in enumerate(losses) if x > chosen["ohem_threshold"] or i < least]
        return float(np.mean(taken)) if taken else 0.0
    assert name == "dice"
    overlaps = {}
    smooth = 1 if chosen["dice"] == "all" else 0
    for c in range(CLASSES):
        if smooth or sum(wanted[c] for _, wanted in pixels) > 0:
            both = sum(given[c] * wanted[c] for given, wanted in pixels)
            sums = sum(given[c] + wanted[c] for given, wanted in pixels)
            overlaps[c] = (2 * both + smooth) / (sums + smooth)
    total = sum(overlaps.values())
    return 1 - (total if chosen["dice"] == "sum" else total / len(overlaps))


def with_gradient(loss: SupervisedLoss, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, targets)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


@every_case
@both_targets
class TestEveryLoss:
    @settings(max_examples=10)
    @given(st.integers(0, 2**32))
    def test_the_equation(self, case: Case, kind: str, seed: int) -> None:
        logits, targets, _ = random_case(seed, kind)
        pixels = counted_pixels(logits, targets)
        if "+" in case.name:
            factors = {"ohem": 0.25, "cross-entropy": 1, "dice": 2}
        else:
            factors = {case.name: 1}
        expected = sum(factor * formula(name, case, pixels) for name, factor in factors.items())
        assert float(case.built()(logits, targets)) == pytest.approx(expected, rel=1e-5, abs=1e-6)

    def test_ignored_pixels_are_not_seen(self, case: Case, kind: str) -> None:
        logits, targets, known = random_case(2, kind)
        value, gradient = with_gradient(case.built(), logits, targets)
        other = logits.where(known.unsqueeze(1), -3 * logits)
        assert torch.equal(value, case.built()(other, targets))
        magnitude = gradient.abs().sum(dim=1)
        assert (magnitude[~known] == 0).all()
        assert (magnitude[known] > 0).any()
        nothing = torch.full_like(targets, IGNORE if kind == "labels" else 0)
        value, gradient = with_gradient(case.built(), logits, nothing)
        assert float(value) == 0
        assert not gradient.any()

    @pytest.mark.parametrize("size", [1e4, -1e4])
    def test_extreme_logits_stay_finite(self, case: Case, kind: str, size: float) -> None:
        _, targets, known = random_case(3, kind)
        labels = targets if kind == "labels" else targets.argmax(dim=1)
        right, wrong = hot(labels.where(known, 0)), hot(torch.zeros_like(labels))
        # Certain and right, certain and wrong, and certain of two classes at once.
        for logits in (size * right, size * wrong, size * (right + wrong)):
            value, gradient = with_gradient(case.built(), logits, targets)
            assert torch.isfinite(value) and torch.isfinite(gradient).all()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_it_is_computed_in_float32(self, case: Case, kind: str, dtype: torch.dtype) -> None:
        logits, targets, _ = random_case(5, kind)
        logits, loss = logits.to(dtype), case.built()
        expected = loss(logits.float(), targets)
        with torch.autocast("cpu", torch.bfloat16):
            under_autocast = loss(logits, targets)
        for found in (loss(logits, targets), under_autocast):
            assert found.dtype == torch.float32
            assert torch.equal(found, expected)

    def test_gradient_by_finite_differences_in_double(self, case: Case, kind: str) -> None:
        logits, targets, _ = random_case(7, kind)
        logits, loss = logits.double().requires_grad_(), case.built()
        assert loss(logits, targets).dtype == torch.float64
        assert torch.autograd.gradcheck(lambda values: loss(values, targets), (logits,))

    def test_values_are_not_asked_for(self, case: Case, kind: str) -> None:
        # Meta tensors have shapes only; whatever reads a value on the host fails.
        logits, targets, _ = (one.to("meta") for one in random_case(8, kind))
        _, gradient = with_gradient(case.built(SHARES.to("meta")), logits, targets)
        assert gradient.shape == logits.shape

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_a_gpu_is_not_waited_for(self, case: Case, kind: str) -> None:
        logits, targets, _ = random_case(8, kind)
        expected = case.built()(logits, targets)
        loss, logits, targets = case.built(SHARES.cuda()), logits.cuda(), targets.cuda()
        with_gradient(loss, logits, targets)  # what is set up once may wait
        torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.autocast("cuda", torch.bfloat16):
                found, _ = with_gradient(loss, logits, targets)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        torch.testing.assert_close(found.cpu(), expected)


@both_targets
class TestRelations:
    def test_special_cases_are_cross_entropy(self, kind: str) -> None:
        logits, targets, _ = random_case(10, kind)
        expected = segmentation_cross_entropy(logits, targets)
        for found in (
            focal_loss(logits, targets, gamma=0),
            *(ohem_loss(logits, targets, threshold, share=1) for threshold in (0.0, 1.5, 100.0)),
            segmentation_cross_entropy(logits, targets, 1e-12),
        ):
            torch.testing.assert_close(found, expected)
        for counts in (torch.ones(CLASSES), torch.full((CLASSES,), 1e9)):  # normalized when built
            found = Case("balanced-cross-entropy").built(counts)(logits, targets)
            torch.testing.assert_close(found, expected / math.log(1.02 + 1 / CLASSES))

    @pytest.mark.parametrize("share", [0.1, 0.9])
    def test_ties_leave_the_mean_of_the_hardest(self, kind: str, share: float) -> None:
        logits, targets, _ = random_case(18, kind)
        logits[..., 1:4], targets[..., 1:4] = logits[..., :1], targets[..., :1]
        case = Case("ohem", {"ohem_threshold": 2.5, "ohem_share": share})
        expected = formula("ohem", case, counted_pixels(logits, targets))
        found = ohem_loss(logits, targets, 2.5, share)
        assert float(found) == pytest.approx(expected, rel=1e-5)

    def test_equally_hard_pixels_share_the_places(self, kind: str) -> None:
        _, targets, _ = random_case(13, kind)
        logits = torch.zeros(2, CLASSES, 3, 5)
        expected = with_gradient(segmentation_cross_entropy, logits, targets)
        for share in (0.01, 0.3):
            found = with_gradient(
                lambda x, y, share=share: ohem_loss(x, y, 100.0, share), logits, targets
            )
            torch.testing.assert_close(found, expected)


def test_dice_of_perfect_and_of_wholly_wrong_answers() -> None:
    _, labels, known = random_case(17)  # an odd seed: the last class is in no label
    right = 1e4 * hot(labels.where(known, 0))
    wrong = 1e4 * hot((labels.where(known, 0) + 1) % (CLASSES - 1))
    assert len(labels[known].unique()) == CLASSES - 1
    assert float(dice_loss(right, labels)) == pytest.approx(0, abs=1e-6)
    assert float(dice_loss(wrong, labels)) == 1
    assert float(dice_loss(right, labels, "sum")) == pytest.approx(2 - CLASSES)
    assert float(dice_loss(wrong, labels, "sum")) == 1
