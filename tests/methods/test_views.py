"""A method with two views of a batch and a stream of its own, as a user would write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mixseg.data.streams import Batch
from mixseg.methods import Backward, SemiSupervised, StepRandom, StreamOutput
from mixseg.targets import MeanTeacher, PseudoLabels, Weighting
from mixseg.training.loop import Learner
from mixseg.training.precision import Precision
from tests.methods.build import CLASSES, batch, build


class TwoViews(SemiSupervised):
    """The student agrees with the teacher on two views, each with its own mask and augmentation."""

    streams = ("labeled", "web", "unlabeled")
    views: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]]

    def step(
        self, batch: Mapping[str, Batch], rng: StepRandom, backward: Backward
    ) -> dict[str, Tensor]:
        for name in ("labeled", "web"):
            labeled = self.labeled_mix(batch[name], rng)
            logits = self.student(labeled.images)
            loss = self.supervised_loss(logits, labeled.targets)
            output = StreamOutput(logits, labeled.counted, labeled.targets)
            backward({f"supervised-{name}": loss}, {name: output})
        pseudo = self.pseudo_label(batch["unlabeled"])
        logs = {}
        for name, augment in self.views.items():
            mixed, logged = self.mix(batch, pseudo, rng)
            logits = self.student(augment(mixed.images, rng.host))
            consistency = self.consistency(logits, mixed.targets, mixed.weights)
            backward(
                {f"consistency-{name}": consistency}, {name: StreamOutput(logits, mixed.valid)}
            )
            logs |= {f"{key}-{name}": value for key, value in logged.items()}
        return logs


class OfClasses(Weighting):
    """A weighting that sees classes and probabilities, and keeps the share of each class."""

    needs_probabilities = True

    def __init__(self) -> None:
        self.seen = torch.zeros(CLASSES)
        self.state = {"seen": self.seen}

    def __call__(self, pseudo: PseudoLabels, valid: Tensor, step: int) -> Tensor:
        assert pseudo.probabilities is not None
        shares = (pseudo.probabilities * valid.unsqueeze(1)).sum((0, 2, 3)) / valid.sum()
        self.seen.lerp_(shares, 0.5)
        rare = 1 - self.seen / self.seen.max()
        return rare[pseudo.labels.clamp(max=CLASSES - 1)] * pseudo.confidence


def two_views() -> TwoViews:
    plain = build(changes={"mixing.mixer": "cutmix"})
    method = TwoViews(
        plain.student,
        supervised_loss=plain.supervised_loss,
        teacher=MeanTeacher(plain.student),
        mixer=plain.mixer,
        weighting=OfClasses(),
        consistency=plain.consistency,
        augment=plain.augment,
    )
    method.views = {"weak": lambda images, _: images, "dark": lambda images, _: images / 2}
    return method


def test_it_trains() -> None:
    method = two_views()
    optimizer = torch.optim.SGD(method.student.parameters(), lr=0.01)
    for group in optimizer.param_groups:
        group["peak_lr"] = group["lr"]
    precision = Precision("fp32", torch.device("cpu"))
    learner = Learner(method, optimizer, precision, (), seed=0, clip_norm=None)
    given = {"labeled": batch(0), "web": batch(1), "unlabeled": batch(2, labeled=False)}
    masks: list[Tensor] = []
    inner = method.mixer.mask

    def watched(labels: Tensor, generator: torch.Generator) -> Tensor:
        masks.append(inner(labels, generator))
        return masks[-1]

    method.mixer.mask = watched  # type: ignore[method-assign]
    found = learner.gradients([given], 0)
    assert learner.is_finite(found)
    assert list(found.losses) == [
        *("supervised-labeled", "supervised-web", "consistency-weak", "consistency-dark")
    ]
    assert {"confident-weak", "weight-dark", "pseudo-labels-weak"} <= found.logs.keys()
    assert len(masks) == 2 and not torch.equal(*masks)
    learner.update(0)
    assert method.state["seen"].any(), "its weighting has state in the checkpoint"
