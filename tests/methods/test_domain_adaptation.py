"""The step of Tranheden & Olsson, Figure 3.4, against loops over images, classes and pixels."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from mixseg.data.strong_augmentation import StrongAugmentation
from torch import Tensor
from torch.nn import functional

from mixseg.config.sections import AugmentationSettings, MixingSettings, TargetSettings
from mixseg.data.streams import Batch
from mixseg.errors import DataError
from mixseg.ignore import IGNORE
from mixseg.methods import DomainAdaptation, SemiSupervised
from mixseg.mixing import MIXERS
from mixseg.training.build import Given
from tests.methods.test_methods import CLASSES, batch, batches, build, random_of, stepped

STEP = 3


def method_of(domains: str = "inter", mixer: str = "classmix", **targets: object) -> SemiSupervised:
    method = build(
        "domain_adaptation",
        mixing=MixingSettings(domains=domains, mixer=mixer),  # type: ignore[arg-type]
        targets=TargetSettings(**({"threshold": 0.3} | targets)),  # type: ignore[arg-type]
    )
    assert isinstance(method, SemiSupervised)
    with torch.no_grad():
        random = torch.Generator().manual_seed(5)
        for parameter in method.teacher.network.head.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=random))
    return method


def with_holes(given: dict[str, Batch]) -> dict[str, Batch]:
    """Some source pixels without a label, inside the image."""
    labels = given["labeled"].labels.clone()
    labels[:, 10:14, 3:9] = IGNORE
    return given | {"labeled": given["labeled"]._replace(labels=labels)}


@pytest.mark.parametrize("sizes", [(1, 1), (3, 3), (2, 3), (3, 1)])
@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("mixer", ["classmix", "cutmix"])
def test_intermix_is_algorithm_1_across_domains(
    sizes: tuple[int, int], kind: str, mixer: str
) -> None:
    method = method_of(mixer=mixer, kind=kind)
    given = with_holes({"labeled": batch(0, sizes[0]), "unlabeled": batch(9, sizes[1], False)})
    source, target = given["labeled"], given["unlabeled"]
    turn = [b % sizes[0] for b in range(sizes[1])]

    with torch.no_grad():
        teacher = copy.deepcopy(method.teacher.network)(target.images / 255).softmax(1)
    # What both share is the random choice; it is made from the source's ground truth.
    masks = method.mixer.mask(source.labels[turn].long(), random_of(STEP).device)
    if mixer == "classmix":
        for b, mask in enumerate(masks):
            truth = source.labels[turn[b]]
            present = sorted(set(truth.flatten().tolist()) - {IGNORE})
            kept = {c for c in present if mask[truth == c].any()}
            assert len(kept) == math.ceil(len(present) / 2)
            assert all(mask[truth == c].all() for c in kept)
            assert not mask[truth == IGNORE].any()

    height, width = target.labels.shape[1:]
    mixed = torch.empty(target.images.shape)
    targets: dict[tuple[int, int, int], tuple[Tensor, float]] = {}
    sure = [
        float(teacher[b, :, y, x].max() > 0.3)
        for b in range(sizes[1])
        for y in range(height)
        for x in range(width)
        if target.valid[b, y, x]
    ]
    share = sum(sure) / len(sure)
    for b in range(sizes[1]):
        for y in range(height):
            for x in range(width):
                s = turn[b]
                pasted = bool(masks[b, y, x] and source.valid[s, y, x])
                own = source.images[s] if pasted else target.images[b]
                mixed[b, :, y, x] = own[:, y, x] / 255
                if pasted:
                    label = int(source.labels[s, y, x])
                    weight = 0.0 if label == IGNORE else 1.0
                    answer = functional.one_hot(torch.tensor(label % CLASSES), CLASSES).float()
                else:
                    answer = teacher[b, :, y, x]
                    if kind == "hard":
                        answer = functional.one_hot(answer.argmax(), CLASSES).float()
                    weight = share if target.valid[b, y, x] else 0.0
                targets[b, y, x] = (answer, weight)
    student = copy.deepcopy(method.student).train()
    with torch.no_grad():
        logs = student(mixed).double().log_softmax(1)
    expected = -sum(
        weight * float(answer.double() @ logs[b, :, y, x])
        for (b, y, x), (answer, weight) in targets.items()
    ) / len(targets)

    result = stepped(method, given, STEP)
    assert float(result.losses["consistency"].detach()) == pytest.approx(expected, rel=1e-5)
    known = source.labels != IGNORE
    with torch.no_grad():
        logits = copy.deepcopy(method.student)(source.images / 255).log_softmax(1)
    picked = logits.gather(1, source.labels.long().where(known, 0)[:, None])[:, 0][known]
    assert float(result.losses["supervised"].detach()) == pytest.approx(
        -float(picked.mean()), rel=1e-4
    )
    assert float(result.logs["confident"]) == pytest.approx(share, rel=1e-5)


@pytest.mark.parametrize("mixer", sorted(MIXERS))
def test_intramix_is_the_semi_supervised_step(mixer: str) -> None:
    given = batches(size=3)
    adaptation = method_of("intra", mixer)
    plain = build(
        "semi_supervised",
        mixing=MixingSettings(mixer=mixer),
        targets=TargetSettings(threshold=0.3),
    )
    for name, network in adaptation.networks.items():
        plain.networks[name].load_state_dict(network.state_dict())
    one, other = (stepped(method, given, STEP) for method in (adaptation, plain))
    for name, loss in one.losses.items():
        assert torch.equal(loss, other.losses[name])


def test_augmentation_comes_after_mixing() -> None:
    strong = AugmentationSettings(
        colour_jitter=0.25, colour_jitter_probability=1.0, blur=True, blur_probability=1.0
    )
    seen: list[Tensor] = []
    for augmentation in (AugmentationSettings(), strong):
        method = build("domain_adaptation", augmentation=augmentation)
        method.student.register_forward_pre_hook(lambda _, images: seen.append(images[0]))
        stepped(method, batches(), STEP)
    source, mixed, same_source, augmented = seen
    assert torch.equal(source, same_source)
    assert not torch.allclose(mixed, augmented, atol=1e-3)
    torch.testing.assert_close(augmented, StrongAugmentation(strong)(mixed, random_of(STEP).host))


def test_images_of_different_sizes_are_named() -> None:
    given = batches()
    smaller = {
        name: getattr(given["labeled"], name)[..., :-8] for name in ("images", "labels", "valid")
    }
    given["labeled"] = given["labeled"]._replace(**smaller)
    with pytest.raises(DataError, match=r"32x32 and 32x40.*set data\.crop.*0-0"):
        stepped(method_of(), given, STEP)


class TestAlignment:
    def aligned(self, distribution: Tensor | None) -> DomainAdaptation:
        targets = TargetSettings(threshold=0.3)
        method = build("domain_adaptation", Given(distribution), targets=targets)
        assert isinstance(method, DomainAdaptation)
        return method

    def test_pseudo_labels_follow(self) -> None:
        wanted = torch.tensor([0.02, 0.02, 0.02, 0.02, 0.92])
        method, plain = self.aligned(wanted), self.aligned(None)
        for step in range(60):
            given = batches(step)
            shares = stepped(method, given, step).logs["pseudo-labels"]
            reference = stepped(plain, given, step).logs["pseudo-labels"]
        assert shares is not None
        assert reference is not None
        assert shares[4] > reference[4] + 0.2
        assert float(shares.sum()) == pytest.approx(1)

    def test_its_average_is_state(self) -> None:
        method = self.aligned(torch.full((CLASSES,), 1 / CLASSES))
        before = method.state["aligned"].clone()
        stepped(method, batches(), 0)
        assert not torch.equal(before, method.state["aligned"])
        assert float(method.state["wanted"].sum()) == pytest.approx(1)
        assert not self.aligned(None).state


def test_shares_of_pseudo_labels_are_counted() -> None:
    method = method_of()
    given = batches(size=3)
    with torch.no_grad():
        teacher = copy.deepcopy(method.teacher.network)(given["unlabeled"].images / 255)
    labels = teacher.argmax(1)[given["unlabeled"].valid].numpy()
    expected = np.bincount(labels, minlength=CLASSES) / labels.size
    shares = stepped(method, given, STEP).logs["pseudo-labels"]
    assert shares is not None
    np.testing.assert_allclose(shares.numpy(), expected, rtol=1e-6)
