"""The supervised step, and labeled images that are mixed with each other, as in every method."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from mixseg.ignore import IGNORE
from mixseg.mixing import Mixup
from mixseg.registry import MIXERS
from tests.methods.build import CLASSES, batches, build, random_of, stepped, take, weights

PASTED = [name for name in MIXERS if name != "none" and MIXERS[name] is not Mixup]


def test_loss_is_the_cross_entropy_of_the_labeled_pixels() -> None:
    method, given = build("supervised"), batches()["labeled"]
    result = stepped(method)
    expected = functional.cross_entropy(
        method.student(given.images / 255), given.labels.long(), ignore_index=IGNORE
    )
    assert result.losses.keys() == {"supervised"}
    torch.testing.assert_close(result.losses["supervised"], expected, rtol=1e-5, atol=1e-5)


def test_labeled_target_images_have_a_loss_of_their_own() -> None:
    options = {"source_domain.dataset": "demo", "data.labeled_target": "1/16"}
    method = build("supervised", options | {"supervised_loss.target_weight": 0.25})
    result, target = stepped(method), batches()["target"]
    expected = functional.cross_entropy(
        method.student(target.images / 255), target.labels.long(), ignore_index=IGNORE
    )
    torch.testing.assert_close(
        result.losses["supervised_target"], expected / 4, rtol=1e-5, atol=1e-5
    )
    # That of the source is as without them, and regularizers may look at both.
    assert result.value("supervised") == stepped(build("supervised")).value("supervised")
    assert torch.equal(result.outputs["target"].counted, target.labels != IGNORE)
    assert result.losses.keys() == {"supervised", "supervised_target"}


def test_the_images_of_each_domain_are_mixed_with_each_other() -> None:
    options = {"source_domain.dataset": "demo", "data.labeled_target": "1/16"}
    method = build("supervised", options | {"mixing.labeled": "cutmix"})
    found = stepped(method, batches(size=3)).outputs["target"].labels
    assert found is not None
    truth = batches(size=3)["target"].labels.long()
    assert not torch.equal(found, truth)
    assert ((found == truth) | (found == truth.roll(-1, dims=0))).all()


def test_the_average_follows_the_student() -> None:
    method = build("supervised")
    take(method, range(1))
    found = weights(method)
    for key in method.student.state_dict():
        assert torch.equal(found[f"average.{key}"], found[f"student.{key}"]), "the first is a copy"


@pytest.mark.parametrize("mixer", PASTED)
def test_image_and_label_of_a_pixel_come_from_one_image(mixer: str) -> None:
    given = batches(size=3)["labeled"]
    labels = given.labels.long()
    mask = MIXERS.build(mixer, {}, num_classes=CLASSES).mask(labels, random_of(0).device)
    kept = mask & given.valid
    assert not kept.all(), "something is pasted"
    mixed = build("supervised", {"mixing.labeled": mixer}).labeled_mix(given, random_of(0))
    for b in range(3):
        partner = (b + 1) % 3
        expected = labels[b].where(kept[b], labels[partner])
        assert torch.equal(mixed.targets[b], expected)
        image = given.images[b].where(kept[b], given.images[partner])
        torch.testing.assert_close(mixed.images[b], image / 255)
    assert torch.equal(mixed.counted, mixed.targets != IGNORE)


def test_mixup_targets_are_weighted_means_of_labels() -> None:
    given = batches(size=3)["labeled"]
    shares = Mixup(0.7).shares(3, random_of(0).host).flatten().tolist()
    method = build("supervised", {"mixing.labeled": "mixup", "mixing.alpha": 0.7})
    mixed = method.labeled_mix(given, random_of(0))
    for b, y, x in np.ndindex(3, 8, 40):
        labels = [int(given.labels[one, y, x]) for one in (b, (b + 1) % 3)]
        expected = torch.zeros(CLASSES)
        if IGNORE not in labels:
            expected[labels[0]] += shares[b]
            expected[labels[1]] += 1 - shares[b]
        assert bool(mixed.counted[b, y, x]) == (IGNORE not in labels)
        torch.testing.assert_close(mixed.targets[b, :, y, x], expected)
