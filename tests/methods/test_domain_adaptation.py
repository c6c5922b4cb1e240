"""The step of Tranheden & Olsson, Figure 3.4, against loops over images, classes and pixels."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mixseg.data.streams import Batch
from mixseg.errors import ConfigError, DataError
from mixseg.ignore import IGNORE
from mixseg.mixing import Mixup
from mixseg.registry import MIXERS
from mixseg.training.build import Given
from tests.methods.build import CLASSES, batch, batches, build, random_of, stepped

STEP = 3


def adapting(given: Given | None = None, **changes: Any) -> Any:
    chosen = {"targets.threshold": 0.3} | {
        key.replace("__", "."): value for key, value in changes.items()
    }
    return build("domain_adaptation", chosen, given)


@pytest.mark.parametrize(
    ("mixer", "kind", "sizes"),
    [
        ("classmix", "hard", (1, 1)),
        ("classmix", "soft", (2, 3)),
        ("cutmix", "hard", (3, 1)),
        ("cutmix", "soft", (3, 3)),
    ],
)
def test_intermix_is_algorithm_1_across_domains(
    mixer: str, kind: str, sizes: tuple[int, int]
) -> None:
    method = adapting(mixing__mixer=mixer, targets__kind=kind)
    source, target = batch(0, sizes[0]), batch(9, sizes[1], False)
    source.labels[:, 10:14, 3:9] = IGNORE  # no label, inside the image
    turn = [b % sizes[0] for b in range(sizes[1])]
    with torch.no_grad():
        teacher = copy.deepcopy(method.teacher.network)(target.images / 255).softmax(1)
    # What both share is the random choice; it is made from the source's ground truth.
    masks = method.mixer.mask(source.labels[turn].long(), random_of(STEP).device)
    if mixer == "classmix":
        for b, mask in enumerate(masks):
            truth = source.labels[turn[b]]
            present = set(truth.flatten().tolist()) - {IGNORE}
            kept = {c for c in present if mask[truth == c].any()}
            assert len(kept) == math.ceil(len(present) / 2)
            assert all(mask[truth == c].all() for c in kept)
            assert not mask[truth == IGNORE].any()

    mixed = torch.empty(target.images.shape)
    targets: dict[tuple[int, ...], tuple[Tensor, float]] = {}
    share = float((teacher.amax(1) > 0.3)[target.valid].double().mean())
    for b, y, x in np.ndindex(target.labels.shape):
        s = turn[b]
        pasted = bool(masks[b, y, x] and source.valid[s, y, x])
        mixed[b, :, y, x] = (source.images[s] if pasted else target.images[b])[:, y, x] / 255
        answer = teacher[b, :, y, x]
        weight = share if target.valid[b, y, x] else 0.0
        if pasted:
            label = int(source.labels[s, y, x])
            weight = 0.0 if label == IGNORE else 1.0
            answer = functional.one_hot(torch.tensor(label % CLASSES), CLASSES)
        elif kind == "hard":
            answer = functional.one_hot(answer.argmax(), CLASSES)
        targets[b, y, x] = (answer.double(), weight)
    with torch.no_grad():
        logs = copy.deepcopy(method.student).train()(mixed).double().log_softmax(1)
        logits = copy.deepcopy(method.student)(source.images / 255)
    terms = [weight * float(a @ logs[b, :, y, x]) for (b, y, x), (a, weight) in targets.items()]

    result = stepped(method, {"labeled": source, "unlabeled": target}, STEP)
    assert result.value("consistency") == pytest.approx(-np.mean(terms), rel=1e-5)
    supervised = functional.cross_entropy(logits, source.labels.long(), ignore_index=IGNORE)
    assert result.value("supervised") == pytest.approx(float(supervised), rel=1e-4)
    assert float(result.logs["confident"]) == pytest.approx(share, rel=1e-5)


@pytest.mark.parametrize("mixer", [name for name in MIXERS if MIXERS[name] is not Mixup])
def test_intramix_is_the_semi_supervised_step(mixer: str) -> None:
    given = batches(size=3)
    adaptation = adapting(mixing__domains="intra", mixing__mixer=mixer)
    plain = build(changes={"mixing.mixer": mixer, "targets.threshold": 0.3})
    one, other = (stepped(method, given, STEP) for method in (adaptation, plain))
    assert {name: one.value(name) for name in one.losses} == {
        name: other.value(name) for name in other.losses
    }


def test_what_cannot_be_mixed_is_refused() -> None:
    given = batches()
    images, labels, valid = (one[..., :-8] for one in given["labeled"][:3])
    given["labeled"] = Batch(images, labels, valid, given["labeled"].ids)
    with pytest.raises(DataError, match=r"32x32 and 32x40.*data\.crop.*0-0"):
        stepped(adapting(), given, STEP)
    with pytest.raises(ConfigError, match=r"mixing\.mixer none"):
        adapting(mixing__mixer="none")
