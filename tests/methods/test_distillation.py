"""The step of distillation: which terms there are, and which pixels count in them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from mixseg.data.transforms import to_unit_range
from mixseg.errors import ConfigError
from mixseg.ignore import IGNORE
from mixseg.losses import segmentation_cross_entropy
from mixseg.methods import Distillation
from mixseg.models import FixedTeacher
from mixseg.targets import Average
from tests.methods.build import NAMES, batch, batches, build, random_of, stepped
from tests.models.build import small_model


def distilling(*, mixer: str = "none", twins: bool = False, **options: Any) -> Distillation:
    """In evaluation mode, for the same answer twice; twins answer alike."""
    alpha = {"mixing.alpha": 1.0} if mixer == "mixup" else {}
    changes = {"mixing.labeled": mixer} | alpha
    changes |= {f"distillation.{name}": value for name, value in options.items()}
    method: Distillation = build("distillation", changes)
    method.student.eval()
    if twins:
        method.student.load_state_dict(method.teacher.network.state_dict())
    return method


@pytest.mark.parametrize("ignored", [False, True])
def test_the_loss_is_the_sum_of_the_paper(ignored: bool) -> None:
    method = distilling(ignored=ignored, alpha=0.7, temperature=3.0)
    given = batch(3)
    given.labels[:, :16] = IGNORE  # counts by option; padding never does
    counted = given.valid if ignored else given.labels != IGNORE
    images, labels = to_unit_range(given.images), given.labels.long()
    with torch.no_grad():
        own, other = method.student(images), method.teacher.network(images)
    p, q = (other / 3).softmax(1), (own / 3).softmax(1)
    divergence = float((p * (p / q).log()).sum(1)[counted].mean())
    entropy = float(functional.cross_entropy(own, labels, ignore_index=IGNORE))
    result = stepped(method, {"labeled": given})
    assert result.losses.keys() == {"distillation", "supervised"}
    assert result.value("distillation") == pytest.approx(0.7 * 9 * divergence, 1e-3)
    assert result.value("supervised") == pytest.approx(0.3 * entropy, 1e-3)
    nothing = stepped(method, {"labeled": batch(0, labeled=False)})
    nothing.total.backward()
    assert nothing.value("supervised") == 0
    assert ignored == (nothing.value("distillation") > 0)


def test_unlabeled_images_are_taken_by_option_and_give_no_supervised_loss() -> None:
    assert distilling().streams == ("labeled",)
    assert distilling(unlabeled=0.5).streams == ("labeled", "unlabeled")
    plain, half, whole = (stepped(distilling(unlabeled=factor)) for factor in (0.0, 0.5, 1.0))
    assert half.value("supervised") == plain.value("supervised")
    assert 2 * half.value("unlabeled") == pytest.approx(whole.value("unlabeled"))
    assert half.value("unlabeled") > 0


@pytest.mark.parametrize("mixer", ["none", "mixup", "cutmix"])
def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn(mixer: str) -> None:
    # Where labeled images are mixed, both must be asked about the mixed ones.
    result = stepped(distilling(mixer=mixer, twins=True, alpha=1.0, ignored=True, pairwise=1.0))
    assert result.losses.keys() == {"supervised", "distillation", "pairwise"}
    for name in result.losses:
        assert result.value(name) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("mixer", ["mixup", "cutmix", "classmix"])
def test_padding_never_counts_in_mixed_images(mixer: str) -> None:
    # White images whose padding is black: what is not white shows some of it.
    one = batch(0)
    white = torch.full_like(one.images, 255) * one.valid.unsqueeze(1)
    mixed = distilling(mixer=mixer).labeled_mix(one._replace(images=white), random_of(0))
    shows_padding = (mixed.images < 1).any(dim=1)
    assert shows_padding.any()
    assert torch.equal(mixed.valid, ~shows_padding)
    assert not (mixed.counted & shows_padding).any()


def test_the_teachers_maps_are_what_is_real_in_holistic_distillation() -> None:
    student = small_model(1)
    parts: dict[str, Any] = {
        "trained_teacher": FixedTeacher(small_model(2), NAMES, NAMES),
        "supervised_loss": segmentation_cross_entropy,
        "average": Average(student),
        "holistic": True,
    }
    labels = stepped(Distillation(student, map_temperature=1.0, **parts)).outputs["labeled"].labels
    assert labels is not None and labels.is_floating_point()
    assert 0 < float(labels.max()) < 1  # as soft as an answer, not as hard as ground truth
    counted = batches()["labeled"].labels != IGNORE
    torch.testing.assert_close(labels.sum(1), counted.float())
    with pytest.raises(ConfigError, match=r"distillation\.holistic"):
        Distillation(student, **parts)
