"""The moving average of a student, and the teacher that labels with it."""

from __future__ import annotations

import copy
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from mixseg.errors import ConfigError
from mixseg.models import SegmentationModel
from mixseg.targets import Average, MeanTeacher
from tests.models.build import small_model

IMAGES = torch.rand(2, 3, 33, 40, generator=torch.Generator().manual_seed(0))


def disturb(model: SegmentationModel, seed: int) -> None:
    """What an update of the student does: parameters, statistics and counters change."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand(value.shape, generator=random))
            else:
                value.add_(seed + 1)


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def labeled(teacher: MeanTeacher[SegmentationModel], images: Tensor) -> Tensor:
    """The probabilities of the pseudo-labels."""
    valid = torch.ones(images[:, 0].shape, dtype=torch.bool)
    found = teacher.label(images, valid, probabilities=True).probabilities
    assert found is not None
    return found


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_follows_equation_2_16(decay: float) -> None:
    student = small_model(0)
    average = Average(student, decay)
    expected = {key: value.double() for key, value in student.state_dict().items()}
    for step in range(6):
        disturb(student, step)
        before = copied(student)
        average.follow(step)
        factor = min(1 - 1 / (step + 1), decay)
        for key, value in student.state_dict().items():
            assert torch.equal(value, before[key]), "the student is never touched"
            if step == 0:
                assert torch.equal(average.network.state_dict()[key], value), "a copy at first"
            if value.is_floating_point():
                expected[key] = factor * expected[key] + (1 - factor) * value.double()
            else:  # counters of batches are copied
                expected[key] = value.double()
    for key, value in average.network.state_dict().items():
        torch.testing.assert_close(value.double(), expected[key], rtol=1e-5, atol=1e-6)
    assert all(one.requires_grad for one in student.parameters())
    assert not any(one.requires_grad for one in average.network.parameters())


def test_labels_are_float32_without_gradient() -> None:
    teacher = MeanTeacher(small_model(0))
    with torch.autocast("cpu", torch.bfloat16):
        probabilities = labeled(teacher, IMAGES.clone().requires_grad_())
    assert (probabilities.dtype, probabilities.shape) == (torch.float32, (2, 5, 33, 40))
    assert not probabilities.requires_grad
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2, 33, 40))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_modes_choose_the_statistics_and_labeling_moves_none(
    mode: Literal["train", "eval"],
) -> None:
    student = small_model(0)
    teacher = MeanTeacher(student, mode=mode, temperature=0.5)
    before = copied(teacher.network)
    with torch.no_grad():
        expected, other = (
            (2 * copy.deepcopy(student).train(training)(IMAGES)).softmax(1)
            for training in (mode == "train", mode != "train")
        )
    torch.testing.assert_close(labeled(teacher, IMAGES), expected)
    assert not torch.allclose(other, expected, atol=1e-3)
    for key, value in teacher.network.state_dict().items():
        assert not value.is_floating_point() or torch.equal(value, before[key]), key


def test_own_statistics_run_with_the_labeled_batches_and_ignore_the_student() -> None:
    student = small_model(0)
    teacher = MeanTeacher(student, buffers="own")
    reference = copy.deepcopy(student).train()
    for step in range(3):
        images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(step))
        labeled(teacher, images)
        with torch.no_grad():
            reference(images)
    disturb(student, 0)
    teacher.follow(1)
    found = dict(teacher.network.named_buffers())
    for key, value in reference.named_buffers():
        torch.testing.assert_close(found[key], value)
    with pytest.raises(ConfigError, match=r"teacher\.buffers"):
        MeanTeacher(student, mode="eval", buffers="own")
