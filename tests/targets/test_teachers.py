"""Teachers beside the mean teacher: who labels, who follows, and what stays as it is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mixseg.models import FixedTeacher
from mixseg.targets import Average, MeanTeacher, Teacher
from mixseg.targets.alternating_teachers import AlternatingTeachers
from mixseg.targets.frozen_teacher import FrozenTeacher
from mixseg.targets.self_teacher import SelfTeacher
from tests.methods.build import NAMES
from tests.models.build import small_model

IMAGES = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(0))
VALID = torch.ones(2, 32, 40, dtype=torch.bool)


def labeled(teacher: Teacher, images: Tensor = IMAGES) -> Tensor:
    found = teacher.label(images, VALID, probabilities=True).probabilities
    assert found is not None
    return found


def answers(network: nn.Module, images: Tensor = IMAGES) -> Tensor:
    """Probabilities of a copy in evaluation mode."""
    with torch.no_grad():
        logits: Tensor = copy.deepcopy(network).eval()(images)
    return logits.softmax(1)


def moved(student: nn.Module, seed: int) -> None:
    """An update of the student, statistics of batch norm included."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for one in (*student.parameters(), *student.buffers()):
            if one.is_floating_point():
                one.mul_(1 + 0.1 * torch.rand(one.shape, generator=random))


def same(one: nn.Module, other: nn.Module) -> bool:
    found, wanted = one.state_dict(), other.state_dict()
    return all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_the_student_labels_in_evaluation_mode_and_goes_on_in_training() -> None:
    student = small_model(0).train()
    teacher, reference = SelfTeacher(student, decay=0.5), Average(student, 0.5)
    for step in range(3):
        before = copy.deepcopy(student)
        torch.testing.assert_close(labeled(teacher), answers(student))
        assert same(student, before) and student.training
        moved(student, step)
        teacher.follow(step)
        reference.follow(step)
        assert same(teacher.networks["average"], reference.network)
    assert teacher.networks.keys() == {"average"}


def test_frozen_batch_norm_stays_so_when_the_student_labels() -> None:
    student = small_model(0)
    student.set_batch_norm("frozen")
    student.train()
    labeled(SelfTeacher(student))
    norms = [one for one in student.backbone.modules() if isinstance(one, nn.BatchNorm2d)]
    assert norms and not any(one.training for one in norms) and student.training


def test_a_trained_network_labels_and_never_moves() -> None:
    student, trained = small_model(0), small_model(5)
    before = copy.deepcopy(trained)
    teacher = FrozenTeacher(student, FixedTeacher(trained, NAMES, NAMES), decay=0.5)
    for step in range(2):
        moved(student, step)
        teacher.follow(step)
    torch.testing.assert_close(labeled(teacher), answers(before))
    assert same(trained, before)
    assert not same(teacher.networks["average"], small_model(0))


def test_a_label_of_both_sides_is_the_mean_and_turns_with_the_image() -> None:
    student = small_model(0)
    plain, both = (MeanTeacher(student, mode="eval", flip=flip) for flip in (False, True))
    mean = (labeled(plain) + labeled(plain, IMAGES.flip(-1)).flip(-1)) / 2
    torch.testing.assert_close(labeled(both), mean)
    torch.testing.assert_close(labeled(both, IMAGES.flip(-1)).flip(-1), labeled(both))
    found = both.label(IMAGES, VALID)
    assert found.probabilities is None
    torch.testing.assert_close(found.confidence, mean.amax(1))


@pytest.mark.parametrize("turn", [1, 3])
def test_one_of_two_teachers_labels_and_follows_while_the_other_rests(turn: int) -> None:
    student = small_model(0)
    teacher = AlternatingTeachers(student, decay=0.5, mode="eval", turn=turn)
    alone = [Average(student, 0.5) for _ in range(2)]
    steps = [0, 0]  # each counts its own, so that the first one copies the student
    for step in range(4 * turn):
        now = step // turn % 2
        torch.testing.assert_close(labeled(teacher), answers(alone[now].network))
        moved(student, step)
        teacher.follow(step)
        alone[now].follow(steps[now])
        steps[now] += 1
        if step == turn - 1:  # the second is to label next, by what the student has learned
            alone[1].follow(0)
            assert same(teacher.pair[1].network, student)
        for one, reference in zip(teacher.pair, alone, strict=True):
            assert same(one.network, reference.network)
    assert not same(teacher.pair[0].network, teacher.pair[1].network)
    assert teacher.networks.keys() == {"teacher"}
    assert any(key.startswith("second.") for key in teacher.state)


def test_labeling_by_the_student_leaves_its_gradients_under_autocast() -> None:
    """Autocast keeps copies of weights; those made without gradient must not be used again."""
    student = small_model(0)
    teacher = SelfTeacher(student)
    with torch.autocast("cpu", torch.bfloat16):
        teacher.label(IMAGES, VALID)
        loss = student(IMAGES).float().square().mean()
    loss.backward()
    assert all(one.grad is not None for one in student.parameters())
