"""What every method promises; a new entry of METHODS is tested by being there."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Mapping

import pytest
import torch
from mixseg.config.UNKNOWN import DistillationSettings
from torch import Tensor

from mixseg.config.sections import Settings, SourceSettings
from mixseg.data.streams import Batch
from mixseg.errors import ConfigError
from mixseg.ignore import IGNORE
from mixseg.methods import METHODS, Method, StepRandom, StreamOutput
from mixseg.models import FixedTeacher
from mixseg.training.build import Given, build_method
from tests.models.build import small_model

CLASSES = 5
NONE: Mapping[str, StreamOutput] = {}
STREAMS = {"labeled", "unlabeled"}


def batch(seed: int, size: int = 2, labeled: bool = True, padded: bool = True) -> Batch:
    """Images of 32x40 pixels with labels; the right part of each is padding."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (size, 3, 32, 40), generator=random, dtype=torch.uint8)
    labels = torch.randint(CLASSES, (size, 32, 40), generator=random, dtype=torch.uint8)
    valid = torch.ones(size, 32, 40, dtype=torch.bool)
    if padded:
        for index in range(size):
            valid[index, :, 40 - 5 * (index + 1) :] = False
    labels = labels.masked_fill(~valid, IGNORE)
    if not labeled:
        labels = torch.full_like(labels, IGNORE)
    return Batch(images, labels, valid, tuple(f"{seed}-{index}" for index in range(size)))


def batches(seed: int = 0, size: int = 2) -> dict[str, Batch]:
    return {
        "labeled": batch(seed, size),
        "unlabeled": batch(seed + 100, size, labeled=False),
    }


def random_of(step: int) -> StepRandom:
    return StepRandom.of(0, step, 0, torch.device("cpu"))


def build(name: str, shares: Given | None = None, /, **changes: object) -> Method:
    if name == "domain_adaptation":
        changes.setdefault("source_domain", SourceSettings(dataset="gta5"))
    given = shares or Given()
    if name == "distillation":
        changes.setdefault("distillation", DistillationSettings(teacher="/run"))
        names = [str(index) for index in range(CLASSES)]
        given = given._replace(teacher=FixedTeacher(small_model(2), names, names))
    settings = dataclasses.replace(Settings(), method=name, **changes)  # type: ignore[arg-type]
    method = build_method(small_model(1), settings, given)
    method.student.train()
    return method


class Stepped:
    """A step whose backward passes are not run: its losses with their graphs."""

    def __init__(self) -> None:
        self.losses: dict[str, Tensor] = {}
        self.outputs: dict[str, StreamOutput] = {}
        self.logs: Mapping[str, Tensor] = {}

    def __call__(
        self, losses: Mapping[str, Tensor], outputs: Mapping[str, StreamOutput] = NONE
    ) -> None:
        assert not self.losses.keys() & losses.keys()
        self.losses |= losses
        self.outputs |= outputs


def stepped(method: Method, given: Mapping[str, Batch], step: int) -> Stepped:
    backward = Stepped()
    backward.logs = method.step(given, random_of(step), backward)
    return backward


def take(method: Method, steps: range) -> None:
    """A few steps of training as the trainer takes them."""
    optimizer = torch.optim.SGD(method.student.parameters(), lr=0.01)
    for step in steps:
        given = {name: batches(step)[name] for name in method.streams}
        result = stepped(method, given, step)
        optimizer.zero_grad()
        torch.stack(list(result.losses.values())).sum().backward()
        optimizer.step()
        method.after_update(step)


def weights(method: Method) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, network in method.networks.items()
        for key, value in network.state_dict().items()
    }


@pytest.mark.parametrize("name", sorted(METHODS))
class TestEveryMethod:
    def test_streams_and_networks(self, name: str) -> None:
        method = build(name)
        assert method.streams
        assert set(method.streams) <= STREAMS
        assert method.networks["student"] is method.student

    @pytest.mark.parametrize("size", [1, 2, 3])
    def test_losses_are_finite_scalars_with_gradient(self, name: str, size: int) -> None:
        method = build(name)
        given = {stream: batches(size=size)[stream] for stream in method.streams}
        result = stepped(method, given, 0)
        assert result.losses
        for loss in result.losses.values():
            assert loss.shape == ()
            assert loss.dtype == torch.float32
            assert torch.isfinite(loss)
            assert loss.requires_grad
        for value in result.logs.values():
            assert value.shape in ((), (CLASSES,))
            assert not value.requires_grad

    def test_gradient_reaches_the_student_and_nobody_else(self, name: str) -> None:
        method = build(name)
        given = {stream: batches()[stream] for stream in method.streams}
        result = stepped(method, given, 0)
        torch.stack(list(result.losses.values())).sum().backward()
        assert all(parameter.grad is not None for parameter in method.student.parameters())
        for other, network in method.networks.items():
            if other != "student":
                assert all(parameter.grad is None for parameter in network.parameters())

    def test_a_step_moves_no_parameter(self, name: str) -> None:
        method = build(name)
        before = weights(method)
        stepped(method, {key: batches()[key] for key in method.streams}, 3)
        parameters = {
            f"{network}.{key}"
            for network, module in method.networks.items()
            for key, _ in module.named_parameters()
        }
        after = weights(method)
        assert all(torch.equal(before[key], after[key]) for key in parameters)

    def test_batches_stay_as_they_are(self, name: str) -> None:
        method = build(name)
        given, reference = batches(), batches()
        stepped(method, {key: given[key] for key in method.streams}, 0)
        for stream in STREAMS:
            for one, other in zip(given[stream][:3], reference[stream][:3], strict=True):
                assert torch.equal(one, other)

    def test_training_depends_on_the_seeds_alone(self, name: str) -> None:
        results = []
        for other in (1, 2):
            torch.manual_seed(other)
            method = build(name)
            take(method, range(3))
            results.append(weights(method))
        assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])

    def test_global_random_state_is_untouched(self, name: str) -> None:
        method = build(name)
        before = torch.get_rng_state()
        take(method, range(2))
        assert torch.equal(before, torch.get_rng_state())

    def test_training_lowers_the_supervised_loss(self, name: str) -> None:
        method = build(name)
        given = {stream: batches()[stream] for stream in method.streams}
        optimizer = torch.optim.Adam(method.student.parameters(), lr=3e-3)
        seen = []
        for step in range(12):
            loss = stepped(method, given, step).losses["supervised"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            method.after_update(step)
            seen.append(float(loss.detach()))
        assert seen[-1] < 0.9 * seen[0]


def test_unknown_method_names_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"unknown method 'semi-supervised'.*'semi_supervised'"):
        build("semi-supervised")


def test_random_generators_of_a_step_are_its_own() -> None:
    device = torch.device("cpu")

    def draws(seed: int, step: int, micro_batch: int) -> list[float]:
        random = StepRandom.of(seed, step, micro_batch, device)
        return [float(torch.rand((), generator=one)) for one in random[:2]]

    assert draws(0, 1, 0) == draws(0, 1, 0)
    values = [draws(*key) for key in ((0, 1, 0), (1, 1, 0), (0, 2, 0), (0, 1, 1))]
    assert len({value for pair in values for value in pair}) == 8


@pytest.mark.parametrize("name", METHODS)
def test_outputs_are_gone_after_their_backward_pass(name: str) -> None:
    method = build(name)
    made: list[weakref.ref[Tensor]] = []
    method.student.upsampling.register_forward_hook(
        lambda module, arguments, output: made.append(weakref.ref(output))
    )
    alive: list[int] = []

    class Freed(Stepped):
        def __call__(
            self, losses: Mapping[str, Tensor], outputs: Mapping[str, StreamOutput] = NONE
        ) -> None:
            gc.collect()
            alive.append(sum(one() is not None for one in made))

    method.step(batches(), random_of(0), Freed())
    assert len(made) == len(alive)
    if name != "distillation":  # it compares features too, and holds both networks' until the end
        assert alive == [1] * len(alive)
