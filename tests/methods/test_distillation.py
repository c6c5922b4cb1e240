"""The step of distillation: which terms there are, and which pixels count in them."""

from __future__ import annotations

import pytest
import torch
from mixseg.config.UNKNOWN import AdversarialSettings, DistillationSettings

from mixseg.config.resolve import resolve_settings
from mixseg.config.sections import MixingSettings
from mixseg.data.transforms import to_unit_range
from mixseg.errors import ConfigError
from mixseg.ignore import IGNORE
from mixseg.methods import Method
from mixseg.methods.distillation import Distillation
from tests.methods.test_methods import Stepped, batch, batches, build, random_of, stepped


def options(**changes: object) -> DistillationSettings:
    return DistillationSettings(teacher="/run", **changes)  # type: ignore[arg-type]


def distilling(**changes: object) -> Distillation:
    method = build("distillation", distillation=options(**changes))
    assert isinstance(method, Distillation)
    return method


def take(method: Method) -> Stepped:
    given = batches()
    return stepped(method, {name: given[name] for name in method.streams}, 0)


def test_the_loss_is_the_sum_of_the_paper() -> None:
    method = distilling(alpha=0.7, temperature=3.0)
    method.student.eval()  # for the same answer twice
    result = take(method)
    labeled = batches()["labeled"]
    images, labels = to_unit_range(labeled.images), labeled.labels.long()
    with torch.no_grad():
        own, other = method.student(images), method.teacher.network(images)
    p, q = (other / 3).softmax(1), (own / 3).softmax(1)
    divergence = (p * (p / q).log()).sum(1)[labels != IGNORE].mean()
    entropy = torch.nn.functional.cross_entropy(own, labels, ignore_index=IGNORE)
    assert float(result.losses["distillation"].detach()) == pytest.approx(
        0.7 * 9 * float(divergence), 1e-3
    )
    assert float(result.losses["supervised"].detach()) == pytest.approx(0.3 * float(entropy), 1e-3)
    assert set(result.losses) == {"distillation", "supervised"}


def test_pixels_without_label_count_by_option_and_padding_never_does() -> None:
    found = {}
    for ignored in (False, True):
        method = distilling(ignored=ignored, temperature=1.0, alpha=1.0)
        method.student.eval()
        labeled = batch(3)
        labels = labeled.labels.clone()
        labels[:, :16] = IGNORE
        result = stepped(method, {"labeled": labeled._replace(labels=labels)}, 0)
        found[ignored] = float(result.losses["distillation"].detach())
        images = to_unit_range(labeled.images)
        with torch.no_grad():
            p, q = method.teacher(images).softmax(1), method.student(images).softmax(1)
        counted = labeled.valid if ignored else labels != IGNORE
        expected = float((p * (p / q).log()).sum(1)[counted].mean())
        assert found[ignored] == pytest.approx(expected, rel=1e-3)
    assert found[False] != pytest.approx(found[True], rel=1e-3)


def test_unlabelled_images_are_taken_by_option_and_give_no_supervised_loss() -> None:
    assert distilling().streams == ("labeled",)
    method = distilling(unlabeled=0.5)
    assert method.streams == ("labeled", "unlabeled")
    plain, more = take(distilling()), take(method)
    twice = take(distilling(unlabeled=1.0))
    with torch.no_grad():
        assert more.losses["supervised"] == plain.losses["supervised"]
        assert more.losses["unlabeled"] > 0
        torch.testing.assert_close(twice.losses["unlabeled"], 2 * more.losses["unlabeled"])


def test_a_batch_without_any_label_still_distils_where_asked() -> None:
    method = distilling(ignored=True)
    result = stepped(method, {"labeled": batch(0, labeled=False)}, 0)
    assert float(result.losses["supervised"].detach()) == 0
    assert float(result.losses["distillation"].detach()) > 0
    nothing = stepped(distilling(), {"labeled": batch(0, labeled=False)}, 0)
    total = torch.stack(list(nothing.losses.values())).sum()
    total.backward()
    assert float(total.detach()) == 0


def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn() -> None:
    method = distilling(alpha=1.0, pairwise=1.0)
    method.student.load_state_dict(method.teacher.network.state_dict())
    method.student.eval()
    result = take(method)
    for loss in result.losses.values():
        assert float(loss.detach()) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("mixer", ["mixup", "cutmix"])
def test_the_teacher_is_asked_about_mixed_images_where_labelled_ones_are_mixed(mixer: str) -> None:
    # A student that is its own teacher has nothing to learn, if both are asked about the same.
    chosen = options(alpha=1.0, ignored=True)
    method = build(
        "distillation", distillation=chosen, mixing=MixingSettings(labeled=mixer, alpha=1.0)
    )
    assert isinstance(method, Distillation)
    method.student.load_state_dict(method.teacher.network.state_dict())
    method.student.eval()
    result = take(method)
    assert float(result.losses["distillation"].detach()) == pytest.approx(0, abs=1e-3)
    labels = result.outputs["labeled"].labels
    assert labels is not None
    plain = batches()["labeled"].labels.long()
    assert labels.shape != plain.shape or not torch.equal(labels, plain)


@pytest.mark.parametrize("mixer", ["mixup", "cutmix", "classmix"])
def test_padding_never_counts_in_mixed_images(mixer: str) -> None:
    method = build("distillation", mixing=MixingSettings(labeled=mixer, alpha=1.0))
    assert isinstance(method, Distillation)
    # White images whose padding is black: what is not white shows some of it.
    one = batch(0)
    white = torch.full_like(one.images, 255) * one.valid.unsqueeze(1)
    mixed = method.labeled_mix(one._replace(images=white), random_of(0))
    shows_padding = (mixed.images < 1).any(dim=1)
    assert shows_padding.any()
    assert torch.equal(mixed.valid, ~shows_padding)
    assert not (mixed.counted & shows_padding).any()


def test_the_teachers_maps_are_what_is_real_in_holistic_distillation() -> None:
    method = build(
        "distillation",
        distillation=options(holistic=True),
        regularizer="adversarial-temperature",
        adversarial=AdversarialSettings(),
    )
    labels = take(method).outputs["labeled"].labels
    assert labels is not None and labels.is_floating_point()
    assert 0 < float(labels.max()) < 1  # as soft as an answer, not as hard as ground truth
    counted = batches()["labeled"].labels != IGNORE
    torch.testing.assert_close(labels.sum(1), counted.float())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "distillation"}, "needs distillation.teacher"),
        ({"distillation.teacher": "/run"}, "does nothing with method semi_supervised"),
        (
            {
                "method": "distillation",
                "distillation.teacher": "/run",
                "distillation.holistic": True,
            },
            "needs the discriminator",
        ),
        ({"distillation.alpha": 1.5}, "alpha must be"),
        ({"distillation.temperature": 0}, "temperature must be"),
        ({"distillation.pairwise": -1}, "pairwise must be"),
    ],
)
def test_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_settings([], changes)
