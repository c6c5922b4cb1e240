"""Every fast form gives what the papers' arithmetic, written down plainly, gives."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mixseg.augmentation.strong import blurred, jittered
from mixseg.data.cityscapes import CITYSCAPES, RAW_TO_TRAIN
from mixseg.evaluation.scores import ConfusionMatrix
from mixseg.ignore import IGNORE
from mixseg.losses import segmentation_cross_entropy
from mixseg.losses.consistency import cross_entropy_consistency
from mixseg.mixing import with_partner
from mixseg.registry import AUGMENTATIONS, MIXERS
from mixseg.targets import MeanTeacher, ThresholdProportional, pseudo_labels
from tests.models.build import small_model
from tests.oracles import transcription
from tests.oracles.transcribed_step import augmented, drawn_masks

CLASSES, SIZE = 7, (48, 80)


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_labels(seed: int, count: int = 3) -> Tensor:
    """Noise of few classes in each image, with pixels of none."""
    labels = torch.randint(CLASSES, (count, *SIZE), generator=random(seed))
    absent = torch.rand(count, CLASSES, generator=random(seed + 1)) < 0.4
    return labels.masked_fill(absent.gather(1, labels.flatten(1)).view_as(labels), IGNORE)


def some_images(seed: int, count: int = 2) -> Tensor:
    return torch.rand(count, 3, *SIZE, generator=random(seed))


def some_logits(seed: int, count: int = 2) -> Tensor:
    return 5 * torch.randn(count, CLASSES, *SIZE, generator=random(seed))


def options_of(registry: Any, name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a part: their defaults, and what differs."""
    section = registry.section
    defaults = {one.path: one.default for one in registry.options(name)}
    return defaults | {f"{section}.{key}": value for key, value in changes.items()}


@pytest.mark.parametrize(
    ("mixer", "changes"),
    [
        ("classmix", {}),
        ("classmix", {"rounding": "floor", "proportion": 0.7}),
        ("classmix", {"ignore_is_class": True, "proportion": 0.25}),
        ("cutmix", {"proportion": 0.7}),
    ],
)
def test_masks_of_the_same_draws(mixer: str, changes: dict[str, Any]) -> None:
    options = options_of(MIXERS, mixer, changes)
    for seed in range(20):
        labels = some_labels(seed)
        own = MIXERS.build(mixer, options, num_classes=CLASSES).mask(labels, random(seed))
        assert torch.equal(drawn_masks(mixer, options, labels, random(seed), CLASSES), own)
        assert 0 < own.float().mean() < 1


@pytest.mark.parametrize(("sigma", "scaled"), [(16.0, True), (4.0, False)])
def test_cowmix_has_the_cover_and_the_border_of_scipys_field(sigma: float, scaled: bool) -> None:
    options = options_of(MIXERS, "cowmix", {"sigma": (sigma, sigma), "sigma_scaled": scaled})
    labels = torch.zeros(150, 128, 256, dtype=torch.int64)
    own = MIXERS.build("cowmix", options).mask(labels, random(0))
    plain = drawn_masks("cowmix", options, labels, random(1), CLASSES)
    inner = (slice(None), slice(16, -16), slice(16, -16))  # SciPy mirrors the field at the border
    for axis in (1, 2):
        borders = [
            (one[inner].diff(dim=axis) != 0).float().mean() for one in (own.int(), plain.int())
        ]
        torch.testing.assert_close(borders[0], borders[1], rtol=0.05, atol=0)
    torch.testing.assert_close(own.float().mean(), plain.float().mean(), rtol=0.02, atol=0)


def test_mixing() -> None:
    mask = torch.rand(3, *SIZE, generator=random(0)) < 0.5
    for values in (some_images(1, count=3), some_labels(2), torch.rand(3, *SIZE)):
        assert torch.equal(transcription.mixed(mask, values), with_partner(mask, values))


@pytest.mark.parametrize("order", [0.0, 0.3, 0.6, 0.9])
def test_jitter(order: float) -> None:
    images = some_images(0)
    images[0, :, :4] = images[0, :1, :4]  # gray has no hue
    images[0, :, 4:8] = images[0, :, 4:8].round()  # black, white and pure colors
    draws = torch.rand(4, generator=random(0)).tolist()
    own = jittered(images, 0.25, draws, order)
    places = [(int(4 * order) + number) % 4 for number in range(4)]
    plain = [transcription.jittered(one, 0.25, draws, places, "torchvision") for one in images]
    torch.testing.assert_close(torch.stack(plain), own, rtol=0, atol=2e-5)


@pytest.mark.parametrize("sigma", [0.15, 1.15])
def test_blur_with_the_taps_that_count(sigma: float) -> None:
    images = torch.rand(2, 3, 128, 160, generator=random(0))
    # The taps that are left out weigh 6e-5 in each direction, and gray values differ by at most 1.
    plain = transcription.blurred(images, sigma)
    torch.testing.assert_close(plain, blurred(images, sigma), rtol=0, atol=2e-4)


@pytest.mark.parametrize("form", ["torchvision", "kornia"])
@pytest.mark.parametrize("per", ["batch", "image"])
def test_augmentation_of_the_same_draws(per: str, form: str) -> None:
    changes = {"color_jitter": 0.25, "blur": True, "per": per, "color_jitter_form": form}
    options = options_of(AUGMENTATIONS, "strong", changes)
    changed = 0
    for seed in range(8):
        images = torch.rand(2, 3, 96, 112, generator=random(seed))
        own = AUGMENTATIONS.build("strong", options)(images, random(seed))
        torch.testing.assert_close(augmented(options, images, random(seed)), own, rtol=0, atol=3e-4)
        changed += not torch.equal(own, images)
    assert 0 < changed < 8


@pytest.mark.parametrize("buffers", ["average", "own"])
def test_average(buffers: str) -> None:
    student = small_model(0)
    teacher = MeanTeacher(student, buffers=buffers)  # type: ignore[arg-type]
    plain = copy.deepcopy(student)
    for step in (0, 1, 5, 1000):
        with torch.no_grad():
            for value in student.state_dict().values():
                value.add_(1 if value.dtype == torch.int64 else 0.01 * torch.randn(value.shape))
        teacher.follow(step)
        transcription.follow(plain, student, step, 0.99, buffers=buffers == "average")
        expected = teacher.network.state_dict()
        for key, value in plain.state_dict().items():
            torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-6)


def test_pseudo_labels_and_weights() -> None:
    logits = some_logits(0)
    valid = torch.ones(2, *SIZE, dtype=torch.bool)
    own = pseudo_labels(logits.softmax(dim=1), valid)
    labels, confidence = transcription.pseudo_labels(logits)
    assert torch.equal(labels, own.labels)
    torch.testing.assert_close(confidence, own.confidence, rtol=0, atol=1e-6)
    weights = ThresholdProportional(0.7)(own, valid, 0)
    torch.testing.assert_close(transcription.proportional_weights(confidence, 0.7), weights)


def test_losses_and_their_gradients() -> None:
    labels, weights = some_labels(1, count=2), torch.rand(2, *SIZE, generator=random(2))
    known = labels.where(labels != IGNORE, 0)
    pairs = [
        (
            lambda logits: segmentation_cross_entropy(logits, labels),
            lambda logits: transcription.supervised_loss(logits, labels),
        ),
        (
            lambda logits: cross_entropy_consistency(logits, known, weights),
            lambda logits: transcription.consistency_loss(logits, known, weights),
        ),
    ]
    for pair in pairs:
        losses, gradients = [], []
        for form in pair:
            logits = some_logits(3).requires_grad_()
            losses.append(form(logits))
            losses[-1].backward()
            gradients.append(logits.grad)
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=0)
        torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-9)


def test_train_ids() -> None:
    raw = np.random.default_rng(0).integers(34, size=SIZE, dtype=np.uint8)
    raw[0] = 255
    ids = {one: number for number, one in enumerate(CITYSCAPES.label_ids)}
    assert np.array_equal(transcription.encoded(raw, ids), RAW_TO_TRAIN[raw].astype(np.uint8))


def test_scores() -> None:
    # One class more, which occurs nowhere.
    matrix = ConfusionMatrix(CLASSES + 1)
    counts = []
    for seed in range(3):
        guess, label = some_labels(seed, count=1)[0], some_labels(seed + 9, count=1)[0]
        guess = guess.where(guess != IGNORE, 0)
        matrix.update(guess, label)
        counts.append(transcription.class_counts(guess, label, CLASSES + 1))
    found = transcription.class_iou(counts)
    np.testing.assert_allclose(found, matrix.iou().numpy(), rtol=1e-12)
    assert np.isnan(found[-1]) and not np.isnan(found[:-1]).any()
