"""Further losses of a step: what their papers say of each, by itself."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine
from torch import Tensor

from mixseg.errors import ConfigError
from mixseg.losses.consistency import cross_entropy_consistency
from mixseg.models.model import coarsest
from mixseg.targets import View
from mixseg.terms import StepData
from mixseg.terms.feature_distance import FeatureDistance
from mixseg.terms.feature_dropout import FeatureDropout
from mixseg.terms.masked import Masked
from mixseg.training.build import Given
from tests.methods.build import CLASSES, NAMES, batch, build, random_of
from tests.models.build import small_model


def step_of(student: Any, labels: Tensor | None = None, step: int = 0) -> StepData:
    """A step with random pseudo-labels and weights."""
    own = batch(3)
    random = torch.Generator().manual_seed(step)
    images, targets = own.images / 255, own.labels.long()
    weights = torch.rand(targets.shape, generator=random) * own.valid
    return StepData(
        student=student,
        images=images,
        labels=targets if labels is None else labels,
        random=random_of(step),
        unlabeled=View(images, targets, weights, own.valid),
        loss=lambda logits, view: cross_entropy_consistency(logits, view.targets, view.weights),
    )


def loss_of_plain_images(step: StepData) -> Tensor:
    assert step.unlabeled is not None
    logits = copy.deepcopy(step.student)(step.unlabeled.images)
    return cross_entropy_consistency(logits, step.unlabeled.targets, step.unlabeled.weights)


def test_hidden_blocks_have_the_mean_color_and_the_others_stay() -> None:
    student, shares, seen = small_model(0), [], []
    student.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    term = Masked(lambda images, random: images / 2, block=8, ratio=0.7)
    for number in range(60):
        step = step_of(student, step=number)
        term(step)
        assert step.unlabeled is not None
        normalized, own = student.normalisation(seen.pop()), step.unlabeled.images / 2
        plain = student.normalisation(own)
        hidden = (normalized.abs() < 1e-6).all(dim=1)
        shown = (normalized == plain).all(dim=1)
        assert (hidden | shown).all()
        blocks = hidden.view(2, 4, 8, 5, 8)
        assert torch.equal(blocks.amin((2, 4)), blocks.amax((2, 4)))  # whole blocks of 8x8
        shares.append(float(hidden.float().mean()))
    # 60 steps of 40 blocks: four standard errors.
    assert np.mean(shares) == pytest.approx(0.7, abs=4 * (0.21 / 2400) ** 0.5)


def test_with_nothing_hidden_or_dropped_it_is_the_loss_of_the_plain_image() -> None:
    student = small_model(0)
    for term in (Masked(lambda images, random: images, ratio=0.0), FeatureDropout(rate=0.0)):
        step = step_of(student)
        assert torch.equal(term(step), loss_of_plain_images(step))
    assert FeatureDropout(rate=0.5)(step_of(student)) != loss_of_plain_images(step_of(student))


DISTANCES = {
    "l2": lambda one, other: np.linalg.norm(one - other),
    "smooth-l1": lambda one, other: np.mean(
        [d * d / 2 if d < 1 else d - 0.5 for d in np.abs(one - other)]
    ),
    "cosine": cosine,
}


@pytest.mark.parametrize("distance", [*DISTANCES, "smooth-l1+cosine"])
@pytest.mark.parametrize("classes", [(), ("1", "3")])
def test_features_are_compared_where_a_chosen_class_covers_a_cell(
    distance: Any, classes: tuple[str, ...]
) -> None:
    student = small_model(0).eval()
    term = FeatureDistance(student, NAMES, distance=distance, classes=classes, covered=0.75)
    before = copy.deepcopy(student)
    with torch.no_grad():
        for parameter in student.backbone.parameters():
            parameter.mul_(1.1)
    # Cells of 16x16: a class covers all, three quarters, or less than that.
    labels = torch.full((2, 32, 32), 255)
    labels[0, :16, :16] = 1
    labels[0, :16, 16:] = 2
    labels[0, 16:, :16] = 3
    labels[0, 20:24, :16] = 255
    labels[1, :16, :16] = 1
    labels[1, :5, :16] = 3
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    chosen = [(0, 0, 0), (0, 1, 0)] + ([] if classes else [(0, 0, 1)])
    with torch.no_grad():
        found, start = (coarsest(one.encode(images)).double().numpy() for one in (student, before))
    assert found.shape[-2:] == (2, 2)

    def apart(name: str) -> float:
        pairs = [(found[b, :, y, x], start[b, :, y, x]) for b, y, x in chosen]
        return float(np.mean([DISTANCES[name](*pair) for pair in pairs]))

    expected = (
        0.1 * apart("smooth-l1") + 0.9 * apart("cosine") if "+" in distance else apart(distance)
    )
    step = step_of(student, labels)._replace(images=images)
    assert float(term(step).detach()) == pytest.approx(expected, rel=1e-4)
    nothing = step._replace(labels=torch.full_like(labels, 255))
    assert float(term(nothing).detach()) == 0


def test_at_the_start_features_are_equal_and_pull_nowhere() -> None:
    student = small_model(0).eval()
    term = FeatureDistance(student, (), covered=0.0)
    assert len(term.chosen) == CLASSES
    loss = term(step_of(student))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    gradients = [one.grad for one in student.backbone.parameters()]
    assert gradients and not any(one is not None and one.any() for one in gradients)
    assert all(one.grad is None for one in term.encoder.parameters())


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("semi_supervised", {"feature_distance.classes": ("9",)}, "feature_distance.classes"),
        ("supervised", {"terms": ("masked",)}, "masked needs unlabeled"),
    ],
)
def test_refused(method: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(method, {"terms": ("feature-distance",)} | changes, Given(class_names=NAMES))
