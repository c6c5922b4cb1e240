"""The step of Tranheden & Olsson, Figure 3.3, against a transcription in plain per-image Python."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mixseg.augmentation import StrongAugmentation
from mixseg.data.streams import Batch
from mixseg.errors import ConfigError
from mixseg.ignore import IGNORE
from mixseg.methods import SemiSupervised
from mixseg.registry import CONSISTENCIES, WEIGHTINGS
from tests.methods.build import CLASSES, batches, build, random_of, stepped

STEP = 30
CASES = [
    # weighting, counted per, targets, consistency loss, mixer
    ("threshold-proportional", "batch", "hard", "cross-entropy", "classmix"),
    ("threshold-proportional", "image", "soft", "cross-entropy", "cutmix"),
    ("pixelwise", "batch", "hard", "squared-error", "cowmix"),
    ("sigmoid", "batch", "soft", "squared-error", "classmix"),
    ("constant", "batch", "soft", "cross-entropy", "cutmix"),
]


def build_with(
    weighting: str = "threshold-proportional", mixer: str = "classmix", **targets: Any
) -> SemiSupervised:
    chosen = {"threshold": 0.4, "ramp_steps": 100, "weighting": weighting} | targets
    changes = {f"targets.{key}": one for key, one in chosen.items()} | {"mixing.mixer": mixer}
    built: SemiSupervised = build(changes=changes)
    return built


def transcription(
    method: SemiSupervised, case: tuple[str, ...], unlabeled: Batch, masks: Tensor
) -> float:
    """The consistency loss, image by image and pixel by pixel, as the paper words it."""
    weighting, per, kind, consistency, _ = case
    images = unlabeled.images.float() / 255
    with torch.no_grad():
        teacher = copy.deepcopy(method.teacher.network)(images).softmax(1).numpy()
    count, _, height, width = images.shape
    valid = unlabeled.valid.numpy()
    mixed = np.empty(images.shape, dtype=np.float32)
    pixels = []
    for b, y, x in np.ndindex(count, height, width):
        # A pixel of the padding is not pasted: what lies below stays.
        source = b if masks[b, y, x] and valid[b, y, x] else (b + 1) % count
        mixed[b, :, y, x] = images[source, :, y, x].numpy()
        pixels.append((b, y, x, teacher[source, :, y, x], bool(valid[source, y, x])))

    def confident(belongs: list[Any]) -> float:
        sure = [max(p) > 0.4 for _, _, _, p, inside in belongs if inside]
        return sum(sure) / max(1, len(sure))

    shares = [confident([p for p in pixels if per == "batch" or p[0] == b]) for b in range(count)]
    with torch.no_grad():
        student = copy.deepcopy(method.student).train()
        answers = student(torch.from_numpy(mixed)).double().softmax(1).numpy()
    total = 0.0
    for b, y, x, target, inside in pixels:
        if not inside:
            continue
        weight = {
            "threshold-proportional": shares[b],
            "pixelwise": float(max(target) > 0.4),
            "sigmoid": math.exp(-5 * (1 - min(1, STEP / 100)) ** 2),
            "constant": 1.0,
        }[weighting]
        if kind == "hard":
            target = np.eye(CLASSES)[target.argmax()]
        answer = answers[b, :, y, x]
        if consistency == "cross-entropy":
            total += weight * -(target * np.log(answer)).sum()
        else:
            total += weight * ((answer - target) ** 2).sum()
    return 0.7 * total / (count * height * width)


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_the_step_is_that_of_the_paper(case: tuple[str, ...]) -> None:
    weighting, per, kind, consistency, mixer = case
    more = {"per": per} if weighting == "threshold-proportional" else {}
    method = build_with(
        weighting, mixer, kind=kind, consistency=consistency, unsupervised_weight=0.7, **more
    )
    given = batches()
    # What both share is the random choice of classes; it is drawn from the teacher's labels.
    with torch.no_grad():
        teacher = copy.deepcopy(method.teacher.network)(given["unlabeled"].images / 255)
    labels = teacher.argmax(1).masked_fill(~given["unlabeled"].valid, IGNORE)
    masks = method.mixer.mask(labels, random_of(STEP).device)
    assert 0.05 < masks.float().mean() < 0.95
    expected = transcription(method, case, given["unlabeled"], masks)
    assert expected > 1e-4
    assert stepped(method, given, STEP).value("consistency") == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weighting", list(WEIGHTINGS))
def test_padding_is_never_counted(weighting: str) -> None:
    given = batches()
    nothing = torch.zeros_like(given["unlabeled"].valid)
    given["unlabeled"] = given["unlabeled"]._replace(valid=nothing)
    for consistency, kind in itertools.product(CONSISTENCIES, ("hard", "soft")):
        result = stepped(build_with(weighting, consistency=consistency, kind=kind), given)
        assert result.value("consistency") == 0
        assert float(result.logs["confident"]) == 0


def test_logs_say_how_much_is_confident_and_which_classes_there_are() -> None:
    method, given = build_with(threshold=0.3), batches(size=3)
    logs = stepped(method, given).logs
    valid = given["unlabeled"].valid
    with torch.no_grad():
        answers = copy.deepcopy(method.teacher.network)(given["unlabeled"].images / 255).softmax(1)
    shares = np.bincount(answers.argmax(1)[valid].numpy(), minlength=CLASSES) / int(valid.sum())
    np.testing.assert_allclose(logs["pseudo-labels"].numpy(), shares, rtol=1e-6)
    assert 0 < float(logs["confident"]) < 1
    # Pixels in the padding weigh nothing.
    assert float(logs["weight"]) <= float(logs["confident"])


def test_a_joint_forward_pass_sees_both_batches_of_one_size() -> None:
    joint, apart, given = build(changes={"model.joint_forward": True}), build(), batches()
    sizes: list[int] = []
    joint.student.register_forward_pre_hook(lambda _, images: sizes.append(len(images[0])))
    found, wanted = stepped(joint, given), stepped(apart, given)
    assert sizes == [4]
    assert found.losses.keys() == wanted.losses.keys()
    assert found.value("supervised") != wanted.value("supervised")  # batch norm sees both
    images, labels, valid = (one[..., :32] for one in given["labeled"][:3])
    given["labeled"] = Batch(images, labels, valid, given["labeled"].ids)
    with pytest.raises(ConfigError, match=r"model\.joint_forward"):
        stepped(joint, given)


def test_augmentation_comes_after_mixing() -> None:
    strong: dict[str, Any] = {"color_jitter": 0.25, "color_jitter_probability": 1.0, "blur": True}
    seen: list[Tensor] = []
    for options in ({}, strong):
        method = build(changes={f"augmentation.{key}": one for key, one in options.items()})
        method.student.register_forward_pre_hook(lambda _, images: seen.append(images[0]))
        stepped(method)
    labeled, mixed, same_labeled, augmented = seen
    assert torch.equal(labeled, same_labeled)
    assert not torch.allclose(mixed, augmented, atol=1e-3)
    expected = StrongAugmentation(**strong)(mixed, random_of(0).host)
    torch.testing.assert_close(augmented, expected)


def test_labeled_images_are_not_pasted_whole() -> None:
    """Nothing of an unlabeled image would be left."""
    with pytest.raises(ConfigError, match=r"mixing\.pasted_from labeled"):
        build(changes={"mixing.pasted_from": "labeled", "mixing.mixer": "none"})
