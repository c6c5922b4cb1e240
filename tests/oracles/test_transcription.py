"""Every fast form gives what the papers' arithmetic, written down plainly, gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mixseg.data.cityscapes import CITYSCAPES, RAW_TO_TRAIN
from mixseg.evaluation.scores import ConfusionMatrix
from mixseg.ignore import IGNORE
from mixseg.registry import AUGMENTATIONS, MIXERS
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


@pytest.mark.parametrize("form", ["torchvision", "kornia"])
@pytest.mark.parametrize("per", ["batch", "image"])
def test_augmentation_of_the_same_draws(per: str, form: str) -> None:
    changes = {"color_jitter": 0.25, "blur": True, "per": per, "color_jitter_form": form}
    changes["color_jitter_probability"] = 0.9
    options = options_of(AUGMENTATIONS, "strong", changes)
    changed = 0
    for seed in range(12):
        images = torch.rand(2, 3, 96, 112, generator=random(seed))
        images[0, :, :4] = images[0, :1, :4]  # gray has no hue
        images[0, :, 4:8] = images[0, :, 4:8].round()  # black, white and pure colors
        own = AUGMENTATIONS.build("strong", options)(images, random(seed))
        torch.testing.assert_close(augmented(options, images, random(seed)), own, rtol=0, atol=3e-4)
        changed += not torch.equal(own, images)
    assert changed > 8


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
