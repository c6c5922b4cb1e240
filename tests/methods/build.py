"""Methods on small networks, and batches for their steps."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from mixseg.config.resolve import resolve_settings
from mixseg.data.streams import Batch
from mixseg.ignore import IGNORE
from mixseg.methods import Method, StepRandom, StreamOutput
from mixseg.models import FixedTeacher
from mixseg.training.build import Given, build_method, build_regularizers
from mixseg.training.precision import Precision
from tests.models.build import small_model

CLASSES = 5
NAMES = tuple(map(str, range(CLASSES)))
NOTHING: Mapping[str, Any] = MappingProxyType({})
NEEDED = {
    "domain_adaptation": {"source_domain.dataset": "demo"},
    "distillation": {"distillation.teacher": "/run"},
}
"""Settings without which a method cannot be asked for."""


def build(
    name: str = "semi_supervised",
    changes: Mapping[str, Any] = NOTHING,
    given: Given | None = None,
    seed: int = 1,
) -> Any:
    """A method of two different networks where it has two.

    Args:
        name: Of the method.
        changes: Setting path -> value.
        given: What the run gives its parts.
        seed: Of the weights of the student.
    """
    given = given or Given()
    if name == "distillation":
        given = given._replace(teacher=FixedTeacher(small_model(2), NAMES, NAMES))
    settings = resolve_settings([], {"method": name, **NEEDED.get(name, {}), **changes})
    regularizers = build_regularizers(
        settings.regularizer,
        settings.options,
        CLASSES,
        Precision("fp32", torch.device("cpu")),
        settings.schedule,
        settings.training,
        settings.seed,
    )
    method = build_method(small_model(seed), settings, given, regularizers)
    method.student.train()
    if "teacher" in method.networks:
        random = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in method.networks["teacher"].head.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=random))
    return method


def batch(seed: int, size: int = 2, labeled: bool = True) -> Batch:
    """Images of 32x40 pixels with labels; the right part of each is padding."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (size, 3, 32, 40), generator=random, dtype=torch.uint8)
    labels = torch.randint(CLASSES, (size, 32, 40), generator=random, dtype=torch.uint8)
    valid = torch.ones(size, 32, 40, dtype=torch.bool)
    for index in range(size):
        valid[index, :, 40 - 5 * (index + 1) :] = False
    labels = labels.masked_fill(~valid, IGNORE) if labeled else torch.full_like(labels, IGNORE)
    return Batch(images, labels, valid, tuple(f"{seed}-{index}" for index in range(size)))


def batches(seed: int = 0, size: int = 2) -> dict[str, Batch]:
    return {
        "labeled": batch(seed, size),
        "unlabeled": batch(seed + 100, size, labeled=False),
        "target": batch(seed + 200, size),
    }


def random_of(step: int) -> StepRandom:
    return StepRandom.of(0, step, 0, torch.device("cpu"))


class Stepped:
    """A step whose backward passes are not run: its losses with their graphs."""

    def __init__(self) -> None:
        self.losses: dict[str, Tensor] = {}
        self.outputs: dict[str, StreamOutput] = {}
        self.logs: Mapping[str, Tensor] = {}

    def __call__(
        self, losses: Mapping[str, Tensor], outputs: Mapping[str, StreamOutput] = NOTHING
    ) -> None:
        assert not self.losses.keys() & losses.keys()
        self.losses |= losses
        self.outputs |= outputs

    @property
    def total(self) -> Tensor:
        return torch.stack(list(self.losses.values())).sum()

    def value(self, name: str) -> float:
        return float(self.losses[name].detach())


def stepped(method: Method, given: Mapping[str, Batch] | None = None, step: int = 0) -> Stepped:
    """A step on the streams that the method takes."""
    given = given or batches()
    backward = Stepped()
    taken = {name: given[name] for name in method.streams if name in given}
    backward.logs = method.step(taken, random_of(step), backward)
    return backward


def take(method: Method, steps: range) -> None:
    """A few steps of training."""
    optimizer = torch.optim.SGD(method.student.parameters(), lr=0.01)
    for step in steps:
        optimizer.zero_grad()
        stepped(method, batches(step), step).total.backward()
        optimizer.step()
        method.after_update(step)


def weights(method: Method) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, network in method.networks.items()
        for key, value in network.state_dict().items()
    }
