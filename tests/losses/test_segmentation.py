"""Section IV of Lourenço against numpy, and what every supervised loss promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mixseg.config.resolve import resolve_settings
from mixseg.config.sections import LossSettings
from mixseg.errors import ConfigError
from mixseg.ignore import IGNORE
from mixseg.losses import (
    LOSSES,
    SegmentationLoss,
    build_loss,
    check_loss,
    class_weights,
    dice_loss,
    focal_loss,
    needs_frequencies,
    ohem_loss,
    segmentation_cross_entropy,
)

CLASSES = 4
FREQUENCIES = torch.tensor([0.6, 0.3, 0.1, 0.0])

# Each loss with its defaults, and again with other settings.
CASES = [
    *(LossSettings(name=name) for name in LOSSES),
    LossSettings(name="cross-entropy", label_smoothing=0.2),
    LossSettings(name="balanced-cross-entropy", label_smoothing=0.2),
    LossSettings(name="focal", gamma=0.5),
    LossSettings(name="focal", gamma=0.0),
    LossSettings(name="ohem", ohem_threshold=1.5, ohem_share=0.5),
    LossSettings(name="ohem", ohem_threshold=1.5, ohem_share=0.0),
    LossSettings(name="ohem", ohem_threshold=100.0, ohem_share=0.3),
    LossSettings(name="dice", dice="sum"),
    LossSettings(name="dice", dice="all"),
    LossSettings(name="0.25*ohem + cross-entropy + 2*dice", ohem_threshold=1.5),
]


def described(case: LossSettings) -> str:
    changed = {
        key: value
        for key, value in vars(case).items()
        if value != getattr(LossSettings(), key) and key != "name"
    }
    return " ".join([case.name, *(f"{key}={value}" for key, value in changed.items())])


every_case = pytest.mark.parametrize("case", CASES, ids=described)
both_targets = pytest.mark.parametrize("kind", ["labels", "distributions"])


def built(case: LossSettings) -> SegmentationLoss:
    return build_loss(case, FREQUENCIES)


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


def formula(name: str, case: LossSettings, pixels: list[tuple[NDArray, NDArray]]) -> float:
    """Equations 2 to 7 with loops."""
    every = np.ones(CLASSES)
    smoothed = [
        (given, (1 - case.label_smoothing) * wanted + case.label_smoothing / CLASSES)
        for given, wanted in pixels
    ]
    if name == "cross-entropy":
        return float(np.mean(cross_entropies(smoothed, every)))
    if name == "balanced-cross-entropy":
        weights = np.array([1 / math.log(1.02 + float(share)) for share in FREQUENCIES])
        return sum(cross_entropies(smoothed, weights)) / len(pixels)
    if name == "focal":
        return float(np.mean([-((1 - p) ** case.gamma * q * np.log(p)).sum() for p, q in pixels]))
    if name == "ohem":
        losses = sorted(cross_entropies(pixels, every), reverse=True)
        least = math.ceil(case.ohem_share * len(losses))
        taken = [x for i, x in enumerate(losses) if x > case.ohem_threshold or i < least]
        return float(np.mean(taken)) if taken else 0.0
    assert name == "dice"
    overlaps = {}
    smooth = 1 if case.dice == "all" else 0
    for c in range(CLASSES):
        if smooth or sum(wanted[c] for _, wanted in pixels) > 0:
            both = sum(given[c] * wanted[c] for given, wanted in pixels)
            sums = sum(given[c] + wanted[c] for given, wanted in pixels)
            overlaps[c] = (2 * both + smooth) / (sums + smooth)
    total = sum(overlaps.values())
    return 1 - (total if case.dice == "sum" else total / len(overlaps))


@every_case
class TestEveryLoss:
    def test_can_be_asked_for(self, case: LossSettings) -> None:
        asked = {f"supervised_loss.{key}": value for key, value in vars(case).items()}
        assert resolve_settings([], asked).supervised_loss == case

    @both_targets
    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 2**32))
    def test_the_equation(self, case: LossSettings, kind: str, seed: int) -> None:
        logits, targets, _ = random_case(seed, kind)
        pixels = counted_pixels(logits, targets)
        if "+" in case.name:
            factors = {"ohem": 0.25, "cross-entropy": 1, "dice": 2}
        else:
            factors = {case.name: 1}
        expected = sum(factor * formula(name, case, pixels) for name, factor in factors.items())
        found = built(case)(logits, targets)
        assert float(found) == pytest.approx(expected, rel=1e-5, abs=1e-6)

    def test_labels_are_one_hot_distributions(self, case: LossSettings) -> None:
        logits, labels, known = random_case(1)
        distributions = hot(labels.where(known, 0)) * known.unsqueeze(1)
        loss = built(case)
        torch.testing.assert_close(loss(logits, labels), loss(logits, distributions))

    @both_targets
    def test_ignored_pixels_are_not_seen(self, case: LossSettings, kind: str) -> None:
        logits, targets, known = random_case(2, kind)
        other = logits.where(known.unsqueeze(1), -3 * logits)
        logits.requires_grad_()
        loss = built(case)
        found = loss(logits, targets)
        found.backward()
        assert torch.equal(found, loss(other, targets))
        assert logits.grad is not None
        magnitude = logits.grad.abs().sum(dim=1)
        assert (magnitude[~known] == 0).all()
        assert (magnitude[known] > 0).any()

    @both_targets
    def test_nothing_counted_is_zero_with_zero_gradient(
        self, case: LossSettings, kind: str
    ) -> None:
        logits = torch.randn(2, CLASSES, 3, 3, requires_grad=True)
        labels, nothing = torch.full((2, 3, 3), IGNORE), torch.zeros(2, CLASSES, 3, 3)
        loss = built(case)(logits, labels if kind == "labels" else nothing)
        loss.backward()
        assert float(loss.detach()) == 0
        assert logits.grad is not None
        assert torch.equal(logits.grad, torch.zeros_like(logits))

    @both_targets
    @pytest.mark.parametrize("size", [1e4, -1e4])
    def test_extreme_logits_stay_finite(self, case: LossSettings, kind: str, size: float) -> None:
        _, targets, known = random_case(3, kind)
        # Certain and right, certain and wrong, and certain of two classes at once.
        answers = [
            (targets if kind == "labels" else targets.argmax(dim=1)).where(known, 0),
            torch.zeros_like(known, dtype=torch.int64),
        ]
        for logits in (
            size * hot(answers[0]),
            size * hot(answers[1]),
            size * sum(map(hot, answers)),
        ):
            logits = logits.clone().requires_grad_()
            loss = built(case)(logits, targets)
            loss.backward()
            assert torch.isfinite(loss)
            assert logits.grad is not None and torch.isfinite(logits.grad).all()

    @both_targets
    def test_the_order_of_pixels_does_not_matter(self, case: LossSettings, kind: str) -> None:
        logits, targets, _ = random_case(4, kind)
        # Two pixels that are equally hard must be treated alike, too.
        logits[:, :, 0] = logits[:, :, 1]
        targets[..., 0, :] = targets[..., 1, :]
        order = torch.randperm(15, generator=torch.Generator().manual_seed(0))

        def shuffled(map_: Tensor) -> Tensor:
            return map_.flatten(-2)[..., order].flip(0).unflatten(-1, (3, 5))

        loss = built(case)
        results = []
        for inputs, wanted in ((logits, targets), (shuffled(logits), shuffled(targets))):
            leaf = inputs.clone().requires_grad_()
            value = loss(leaf, wanted)
            (gradient,) = torch.autograd.grad(value, leaf)
            results.append((value.detach(), gradient))
        (value, gradient), (other_value, other_gradient) = results
        torch.testing.assert_close(value, other_value)
        torch.testing.assert_close(shuffled(gradient), other_gradient)

    @both_targets
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_is_computed_in_float32(
        self, case: LossSettings, kind: str, dtype: torch.dtype
    ) -> None:
        logits, targets, _ = random_case(5, kind)
        loss = built(case)
        expected = loss(logits.to(dtype).float(), targets)
        found = loss(logits.to(dtype), targets)
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)

    @both_targets
    def test_autocast_changes_nothing(self, case: LossSettings, kind: str) -> None:
        logits, targets, _ = random_case(6, kind)
        loss = built(case)
        expected = loss(logits, targets)
        with torch.autocast("cpu", torch.bfloat16):
            found = loss(logits, targets)
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)

    @both_targets
    def test_gradient_by_finite_differences_in_double(self, case: LossSettings, kind: str) -> None:
        logits, targets, _ = random_case(7, kind)
        loss = built(case)
        logits = logits.double().requires_grad_()
        assert loss(logits, targets).dtype == torch.float64
        assert torch.autograd.gradcheck(lambda values: loss(values, targets), (logits,))

    @both_targets
    def test_values_are_not_asked_for(self, case: LossSettings, kind: str) -> None:
        # Meta tensors have shapes only; whatever reads a value on the host fails.
        logits, targets, _ = random_case(8, kind)
        loss = build_loss(case, FREQUENCIES.to("meta"))
        leaf = logits.to("meta").requires_grad_()
        loss(leaf, targets.to("meta")).backward()
        assert leaf.grad is not None and leaf.grad.shape == logits.shape

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    @both_targets
    def test_a_gpu_is_not_waited_for(self, case: LossSettings, kind: str) -> None:
        logits, targets, _ = (tensor.cuda() for tensor in random_case(8, kind))
        loss = build_loss(case, FREQUENCIES.cuda())
        expected = loss(logits.cpu(), targets.cpu()) if not needs_frequencies(case) else None
        logits.requires_grad_()
        loss(logits, targets).backward()  # what is set up once may wait
        torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.autocast("cuda", torch.bfloat16):
                found = loss(logits, targets)
            found.backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert found.dtype == torch.float32
        if expected is not None:
            torch.testing.assert_close(found.cpu(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_plain_cross_entropy_of_labels_keeps_every_bit(dtype: torch.dtype) -> None:
    """Existing runs are reproduced: what the methods minimised before other losses existed."""
    logits = 3 * torch.randn(3, 19, 41, 37, generator=torch.Generator().manual_seed(0)).to(dtype)
    labels = torch.randint(20, (3, 41, 37), generator=torch.Generator().manual_seed(1))
    labels = labels.masked_fill(labels == 19, IGNORE)

    def before(logits: Tensor, labels: Tensor) -> Tensor:
        total = functional.cross_entropy(
            logits.float(), labels, ignore_index=IGNORE, reduction="sum"
        )
        return total / (labels != IGNORE).sum().clamp(min=1)

    results = []
    for loss in (before, segmentation_cross_entropy, build_loss(LossSettings(), None)):
        leaf = logits.clone().requires_grad_()
        value = loss(leaf, labels)
        (gradient,) = torch.autograd.grad(value, leaf)
        results.append((value, gradient))
    for value, gradient in results[1:]:
        assert torch.equal(value, results[0][0])
        assert torch.equal(gradient, results[0][1])


@both_targets
class TestRelations:
    def test_focal_without_focus_is_cross_entropy(self, kind: str) -> None:
        logits, targets, _ = random_case(10, kind)
        expected = segmentation_cross_entropy(logits, targets)
        torch.testing.assert_close(focal_loss(logits, targets, gamma=0), expected)

    def test_focal_shrinks_with_gamma(self, kind: str) -> None:
        logits, targets, _ = random_case(11, kind)
        values = [float(focal_loss(logits, targets, gamma)) for gamma in (0, 0.5, 1, 2, 5)]
        assert values == sorted(values, reverse=True)
        assert values[0] > values[-1] > 0

    def test_ohem_of_all_pixels_is_cross_entropy(self, kind: str) -> None:
        logits, targets, _ = random_case(12, kind)
        expected = segmentation_cross_entropy(logits, targets)
        for threshold in (0.0, 1.5, 100.0):
            found = ohem_loss(logits, targets, threshold, share=1)
            torch.testing.assert_close(found, expected)

    @pytest.mark.parametrize("share", [0.1, 0.35, 0.6, 0.9])
    def test_ties_leave_the_mean_of_the_hardest(self, kind: str, share: float) -> None:
        logits, targets, _ = random_case(18, kind)
        logits[..., 1:4], targets[..., 1:4] = logits[..., :1], targets[..., :1]
        case = LossSettings(name="ohem", ohem_threshold=2.5, ohem_share=share)
        expected = formula("ohem", case, counted_pixels(logits, targets))
        found = ohem_loss(logits, targets, case.ohem_threshold, share)
        assert float(found) == pytest.approx(expected, rel=1e-5)

    def test_equally_hard_pixels_share_the_places(self, kind: str) -> None:
        _, targets, _ = random_case(13, kind)
        logits = torch.zeros(2, CLASSES, 3, 5, requires_grad=True)
        for share in (0.01, 0.3):
            found = ohem_loss(logits, targets, threshold=100.0, share=share)
            assert float(found.detach()) == pytest.approx(math.log(CLASSES))
            (gradient,) = torch.autograd.grad(found, logits)
            everything = segmentation_cross_entropy(logits, targets)
            (expected,) = torch.autograd.grad(everything, logits)
            torch.testing.assert_close(gradient, expected)

    def test_balanced_with_equal_shares_is_a_multiple_of_cross_entropy(self, kind: str) -> None:
        logits, targets, _ = random_case(14, kind)
        for counts in (torch.ones(CLASSES), torch.full((CLASSES,), 1e9)):  # normalised when built
            loss = build_loss(LossSettings(name="balanced-cross-entropy"), counts)
            expected = segmentation_cross_entropy(logits, targets) / math.log(1.02 + 1 / CLASSES)
            torch.testing.assert_close(loss(logits, targets), expected)

    def test_smoothing_by_nothing_is_none(self, kind: str) -> None:
        logits, targets, _ = random_case(15, kind)
        expected = segmentation_cross_entropy(logits, targets)
        torch.testing.assert_close(segmentation_cross_entropy(logits, targets, 1e-12), expected)


def test_label_smoothing_is_torchs() -> None:
    logits, labels, _ = random_case(16)
    expected = functional.cross_entropy(logits, labels, ignore_index=IGNORE, label_smoothing=0.3)
    torch.testing.assert_close(segmentation_cross_entropy(logits, labels, 0.3), expected)


def test_dice_of_perfect_and_of_wholly_wrong_answers() -> None:
    _, labels, known = random_case(17)  # an odd seed: the last class is in no label
    right = 1e4 * hot(labels.where(known, 0))
    wrong = 1e4 * hot((labels.where(known, 0) + 1) % (CLASSES - 1))
    present = len(labels[known].unique())
    assert present == CLASSES - 1
    assert float(dice_loss(right, labels)) == pytest.approx(0, abs=1e-6)
    assert float(dice_loss(wrong, labels)) == 1
    assert float(dice_loss(right, labels, "sum")) == pytest.approx(1 - present)
    assert float(dice_loss(wrong, labels, "sum")) == 1


def test_a_rare_class_counts_as_much_as_a_frequent_one_for_dice() -> None:
    labels = torch.zeros(1, 100, 100, dtype=torch.int64)
    labels[0, 0, 0] = 1
    logits = 1e4 * hot(torch.zeros_like(labels))  # only the one pixel of class 1 is missed
    assert float(dice_loss(logits, labels)) == pytest.approx(0.5, abs=1e-4)


def test_class_weights_fall_with_the_share() -> None:
    weights = class_weights(torch.tensor([0.0, 0.01, 0.3, 1.0], dtype=torch.float64))
    assert (weights.diff() < 0).all()
    torch.testing.assert_close((1 / weights).exp() - 1.02, torch.tensor([0, 0.01, 0.3, 1]).double())


class TestBuilding:
    def test_balanced_needs_shares(self) -> None:
        assert needs_frequencies(LossSettings(name="dice + 2*balanced-cross-entropy"))
        assert not needs_frequencies(LossSettings(name="dice + 2*cross-entropy"))
        with pytest.raises(
            ConfigError, match=r"supervised_loss\.name.*balanced-cross-entropy.*share"
        ):
            build_loss(LossSettings(name="dice + balanced-cross-entropy"), None)

    @pytest.mark.parametrize("check", [check_loss, needs_frequencies])
    def test_unknown_names_list_the_choices(self, check: object) -> None:
        with pytest.raises(
            ConfigError, match=r"supervised_loss\.name.*'dise'.*mean 'dice'.*Choices: .*ohem"
        ):
            check(LossSettings(name="cross-entropy + dise"))  # type: ignore[operator]

    @every_case
    def test_what_can_be_built_is_not_refused(self, case: LossSettings) -> None:
        check_loss(case)
