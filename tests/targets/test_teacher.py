from __future__ import annotations

import copy
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from mixseg.models import SegmentationModel
from mixseg.targets import MeanTeacher
from tests.models.build import small_model


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


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99, 1.0])
def test_follows_equation_2_16(decay: float) -> None:
    student = small_model(0)
    teacher = MeanTeacher(student, decay)
    expected = {key: value.double() for key, value in student.state_dict().items()}
    for step in range(6):
        disturb(student, step)
        teacher.follow(step)
        factor = min(1 - 1 / (step + 1), decay)
        for key, value in student.state_dict().items():
            if value.is_floating_point():
                expected[key] = factor * expected[key] + (1 - factor) * value.double()
            else:
                expected[key] = value.double()
    for key, value in teacher.network.state_dict().items():
        torch.testing.assert_close(value.double(), expected[key], rtol=1e-5, atol=1e-6)


def test_the_first_step_copies_the_student_exactly() -> None:
    student = small_model(0)
    teacher = MeanTeacher(student)
    disturb(student, 3)
    teacher.follow(0)
    for key, value in teacher.network.state_dict().items():
        assert torch.equal(value, student.state_dict()[key]), key


def test_integer_buffers_are_copied() -> None:
    student = small_model(0)
    teacher = MeanTeacher(student, 0.99)
    student.train()
    for step in range(5):
        student(torch.rand(2, 3, 32, 32))
        teacher.follow(step)
    counters = [
        value
        for key, value in teacher.network.state_dict().items()
        if key.endswith("num_batches_tracked")
    ]
    assert counters
    assert all(int(value) == 5 for value in counters)


def test_the_student_is_never_touched() -> None:
    student = small_model(0)
    before = copied(student)
    teacher = MeanTeacher(student)
    labeled(teacher, torch.rand(2, 3, 32, 32))
    teacher.follow(5)
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_no_gradient_reaches_the_teacher() -> None:
    student = small_model(0)
    teacher = MeanTeacher(student)
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    probabilities = labeled(teacher, images)
    assert not probabilities.requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())


def test_probabilities_are_distributions_of_float32() -> None:
    teacher = MeanTeacher(small_model(0))
    with torch.autocast("cpu", torch.bfloat16):
        probabilities = labeled(teacher, torch.rand(2, 3, 33, 40))
    assert probabilities.dtype == torch.float32
    assert probabilities.shape == (2, 5, 33, 40)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2, 33, 40))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_modes_choose_the_statistics(mode: Literal["train", "eval"]) -> None:
    student = small_model(0)
    teacher = MeanTeacher(student, mode=mode)
    images = torch.rand(2, 3, 48, 48)
    reference = copy.deepcopy(student)
    reference.train(mode == "train")
    with torch.no_grad():
        expected = reference(images).softmax(1)
    torch.testing.assert_close(labeled(teacher, images), expected)
    other = copy.deepcopy(student).train(mode != "train")
    with torch.no_grad():
        assert not torch.allclose(other(images).softmax(1), expected, atol=1e-3)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_labelling_does_not_move_averaged_statistics(mode: Literal["train", "eval"]) -> None:
    teacher = MeanTeacher(small_model(0), mode=mode)
    before = copied(teacher.network)
    labeled(teacher, torch.rand(2, 3, 32, 32))
    for key, value in teacher.network.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, before[key]), key


def test_own_statistics_run_with_the_labelled_batches_and_ignore_the_student() -> None:
    student = small_model(0)
    teacher = MeanTeacher(student, buffers="own")
    reference = copy.deepcopy(student).train()
    for step in range(3):
        images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(step))
        labeled(teacher, images)
        with torch.no_grad():
            reference(images)
    for key, value in reference.named_buffers():
        torch.testing.assert_close(dict(teacher.network.named_buffers())[key], value)
    disturb(student, 0)
    before = {key: value.clone() for key, value in teacher.network.named_buffers()}
    teacher.follow(1)
    for key, value in teacher.network.named_buffers():
        assert torch.equal(value, before[key]), key
