"""The step of Tranheden & Olsson, Figure 3.3, against a transcription in plain per-image Python."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mixseg.config.sections import AugmentationSettings, MixingSettings, Settings, TargetSettings
from mixseg.ignore import IGNORE
from mixseg.losses import CONSISTENCIES
from mixseg.methods import SemiSupervised
from mixseg.methods.method import Method
from mixseg.mixing import MIXERS
from mixseg.targets import WEIGHTINGS
from tests.methods.test_methods import (
    CLASSES,
    batch,
    batches,
    build,
    random_of,
    stepped,
    take,
    weights,
)

STEP = 30


def settings_of(**targets: object) -> TargetSettings:
    return TargetSettings(**({"ramp_steps": 100, "threshold": 0.4} | targets))  # type: ignore[arg-type]


def method_of(**targets: object) -> SemiSupervised:
    """A method whose teacher has moved away from its student and is sure of some pixels."""
    method = build("semi_supervised", targets=settings_of(**targets))
    assert isinstance(method, SemiSupervised)
    with torch.no_grad():
        random = torch.Generator().manual_seed(5)
        for parameter in method.teacher.network.head.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=random))
    return method


def transcription(
    method: SemiSupervised, settings: TargetSettings, given: dict, masks: Tensor
) -> float:
    """The consistency loss, image by image and pixel by pixel, as the paper words it."""
    unlabeled = given["unlabeled"]
    images = unlabeled.images.float() / 255
    with torch.no_grad():
        teacher = copy.deepcopy(method.teacher.network)(images).softmax(1).numpy()
    count, _, height, width = images.shape
    valid = unlabeled.valid.numpy()
    mixed = np.empty(images.shape, dtype=np.float32)
    pixels = []
    for b in range(count):
        partner = (b + 1) % count
        for y in range(height):
            for x in range(width):
                # A pixel of the padding is not pasted: what lies below stays.
                source = b if masks[b, y, x] and valid[b, y, x] else partner
                mixed[b, :, y, x] = images[source, :, y, x].numpy()
                inside = bool(valid[source, y, x])
                pixels.append((b, y, x, teacher[source, :, y, x], inside))

    def confident(belongs: list) -> float:
        sure = [max(p) > settings.threshold for _, _, _, p, inside in belongs if inside]
        return sum(sure) / max(1, len(sure))

    shares = [
        confident([one for one in pixels if settings.per == "batch" or one[0] == b])
        for b in range(count)
    ]
    student = copy.deepcopy(method.student).train()
    with torch.no_grad():
        answers = student(torch.from_numpy(mixed)).double().softmax(1).numpy()
    total = 0.0
    for b, y, x, target, inside in pixels:
        if not inside:
            continue
        weight = {
            "threshold-proportional": shares[b],
            "pixelwise": float(max(target) > settings.threshold),
            "sigmoid": math.exp(-5 * (1 - min(1, STEP / settings.ramp_steps)) ** 2),
            "constant": 1.0,
        }[settings.weighting]
        if settings.kind == "hard":
            target = np.eye(CLASSES)[target.argmax()]
        answer = answers[b, :, y, x]
        if settings.consistency == "cross-entropy":
            loss = -(target * np.log(answer)).sum()
        else:
            loss = ((answer - target) ** 2).sum()
        total += weight * loss
    return settings.unsupervised_weight * total / (count * height * width)


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("consistency", ["cross-entropy", "squared-error"])
@pytest.mark.parametrize(
    ("weighting", "per"),
    [
        ("threshold-proportional", "batch"),
        ("threshold-proportional", "image"),
        ("pixelwise", "batch"),
        ("sigmoid", "batch"),
        ("constant", "batch"),
    ],
)
def test_the_step_is_that_of_the_paper(
    kind: str, consistency: str, weighting: str, per: str
) -> None:
    chosen = {"kind": kind, "consistency": consistency, "weighting": weighting, "per": per}
    chosen |= {"unsupervised_weight": 0.7}
    method = method_of(**chosen)
    settings = settings_of(**chosen)
    given = batches()
    # What both share is the random choice of classes; it is drawn from the teacher's labels.
    with torch.no_grad():
        teacher = copy.deepcopy(method.teacher.network)(given["unlabeled"].images / 255)
    labels = teacher.argmax(1).masked_fill(~given["unlabeled"].valid, IGNORE)
    masks = method.mixer.mask(labels, random_of(STEP).device)
    assert 0.05 < masks.float().mean() < 0.95
    expected = transcription(method, settings, given, masks)
    result = stepped(method, given, STEP)
    assert float(result.losses["consistency"].detach()) == pytest.approx(expected, rel=1e-5)
    assert expected > 1e-4


def test_every_loss_and_weighting_was_transcribed() -> None:
    assert set(CONSISTENCIES) == {"cross-entropy", "squared-error"}
    assert set(WEIGHTINGS) == {"threshold-proportional", "pixelwise", "sigmoid", "constant"}


def seen_by_the_student(method: SemiSupervised, given: dict) -> Tensor:
    """The mixed images of a step."""
    seen: list[Tensor] = []
    hook = method.student.register_forward_pre_hook(lambda _, images: seen.append(images[0]))
    stepped(method, given, 0)
    hook.remove()
    return seen[-1]


@pytest.mark.parametrize("mixer", sorted(MIXERS))
class TestPadding:
    def test_is_never_pasted(self, mixer: str) -> None:
        method = build("semi_supervised", mixing=MixingSettings(mixer=mixer))
        assert isinstance(method, SemiSupervised)
        given = batches()
        # Padding is black, the image nowhere.
        images = given["unlabeled"].images.clamp(min=10)
        images = images * given["unlabeled"].valid.unsqueeze(1)
        given["unlabeled"] = given["unlabeled"]._replace(images=images)
        mixed = seen_by_the_student(method, given)
        padding = (mixed == 0).all(dim=1)
        valid = given["unlabeled"].valid
        # Black is left only where the partner has nothing either, never where it has an image.
        partner = valid.roll(-1, dims=0)
        assert not (padding & valid & partner).any()
        assert not (padding & ~valid & partner).any()

    def test_is_never_counted(self, mixer: str) -> None:
        # What stands in the padding can reach the student's neighbouring pixels, but no target:
        # with all of a batch invalid, there is nothing to agree on.
        method = build("semi_supervised", mixing=MixingSettings(mixer=mixer))
        given = batches()
        nothing = torch.zeros_like(given["unlabeled"].valid)
        given["unlabeled"] = given["unlabeled"]._replace(valid=nothing)
        for weighting in WEIGHTINGS:
            settings = TargetSettings(weighting=weighting)
            other = build("semi_supervised", targets=settings, mixing=MixingSettings(mixer=mixer))
            assert float(stepped(other, given, 0).losses["consistency"].detach()) == 0
        assert float(stepped(method, given, 0).logs["confident"]) == 0


def test_a_single_image_agrees_with_itself() -> None:
    # Alone in its batch an image is its own partner; the same network with the same statistics
    # gives itself.
    method = build(
        "semi_supervised", targets=TargetSettings(kind="soft", consistency="squared-error")
    )
    given = {"labeled": batch(0, 1), "unlabeled": batch(1, 1, labeled=False)}
    result = stepped(method, given, 0)
    assert float(result.losses["consistency"].detach()) == pytest.approx(0, abs=1e-9)
    mixed = seen_by_the_student(method, given)  # type: ignore[arg-type]
    torch.testing.assert_close(mixed, given["unlabeled"].images / 255)


def test_every_pixel_of_a_mixed_image_is_from_one_of_two() -> None:
    method = build("semi_supervised")
    given = batches(size=3)
    mixed = seen_by_the_student(method, given)  # type: ignore[arg-type]
    images = given["unlabeled"].images / 255
    own = (mixed == images).all(dim=1)
    partner = (mixed == images.roll(-1, dims=0)).all(dim=1)
    assert (own | partner).all()
    assert own.any()
    assert partner.any()


def test_strong_augmentation_changes_the_image_and_not_the_target() -> None:
    augmentation = AugmentationSettings(
        colour_jitter=0.25, colour_jitter_probability=1.0, blur=True, blur_probability=1.0
    )
    plain, strong = build("semi_supervised"), build("semi_supervised", augmentation=augmentation)
    targets: list[Tensor] = []
    for method in (plain, strong):
        assert isinstance(method, SemiSupervised)
        consistency = method.consistency

        def watched(logits: Tensor, target: Tensor, weight: Tensor, inner=consistency) -> Tensor:  # type: ignore[no-untyped-def]
            targets.append(target)
            return inner(logits, target, weight)

        method.consistency = watched
    images = [seen_by_the_student(method, batches()) for method in (plain, strong)]  # type: ignore[arg-type]
    assert not torch.allclose(images[0], images[1], atol=1e-3)
    assert torch.equal(targets[0], targets[1])


def test_the_teacher_moves_by_following_only() -> None:
    method = build("semi_supervised")
    assert isinstance(method, SemiSupervised)
    take(method, range(2))
    before = weights(method)
    optimizer = torch.optim.SGD(method.student.parameters(), lr=0.1)
    result = stepped(method, batches(9), 2)
    torch.stack(list(result.losses.values())).sum().backward()
    optimizer.step()
    parameters = [key for key, _ in method.student.named_parameters()]
    middle = weights(method)
    for key in parameters:
        assert torch.equal(middle[f"teacher.{key}"], before[f"teacher.{key}"])
    method.after_update(2)
    after = weights(method)
    factor = 1 - 1 / 3
    for key in parameters:
        expected = factor * before[f"teacher.{key}"] + (1 - factor) * middle[f"student.{key}"]
        torch.testing.assert_close(after[f"teacher.{key}"], expected)
        assert torch.equal(after[f"student.{key}"], middle[f"student.{key}"])


def test_the_unsupervised_weight_is_a_factor_of_the_consistency_alone() -> None:
    losses = []
    for factor in (1.0, 0.25, 0.0):
        method: Method = method_of(unsupervised_weight=factor, weighting="constant")
        losses.append(stepped(method, batches(), 0).losses)
    whole, quarter, none = losses
    torch.testing.assert_close(quarter["consistency"], 0.25 * whole["consistency"])
    assert float(none["consistency"].detach()) == 0
    assert torch.equal(whole["supervised"], quarter["supervised"])


def test_logs_say_how_much_is_confident() -> None:
    for threshold, expected in ((0.0, 1.0), (1.0, 0.0)):
        settings = dataclasses.replace(Settings().targets, threshold=threshold)
        method = build("semi_supervised", targets=settings)
        logs = stepped(method, batches(), 0).logs
        assert float(logs["confident"]) == expected
