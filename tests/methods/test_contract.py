"""What every method promises; one that registers is tested by being there."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from mixseg.data.streams import Batch
from mixseg.methods import StepRandom, StreamOutput
from mixseg.registry import METHODS, MIXERS
from mixseg.training.build import Given
from tests.methods.build import (
    CLASSES,
    NOTHING,
    Stepped,
    batches,
    build,
    random_of,
    stepped,
    take,
    weights,
)

every_method = pytest.mark.parametrize("name", list(METHODS))
STATEFUL: dict[str, tuple[str, dict[str, Any]]] = {
    "thresholds of classes": (
        "semi_supervised",
        {
            "targets.weighting": "class-adaptive",
            "targets.threshold": 0.4,
            "targets.class_decay": 0.5,
            "views.count": 2,
            "views.channel_dropout": "complementary",
        },
    ),
    "two teachers": ("semi_supervised", {"teacher.name": "alternating", "teacher.turn": 1}),
    "a teacher that is the student": (
        "semi_supervised",
        {"teacher.name": "self", "terms": ("feature-dropout", "masked"), "masked.block": 8},
    ),
    "distance to the features of the start": (
        "domain_adaptation",
        {
            "terms": ("feature-distance",),
            "feature_distance.weight": 0.5,
            "feature_distance.covered": 0.1,
        },
    ),
    "labels that follow shares": (
        "semi_supervised",
        {
            "targets.alignment": "labeled",
            "targets.alignment_of": "labels",
            "targets.alignment_decay": 0.5,
        },
    ),
}
"""What is tried -> method and settings of a recipe that keeps something from step to step."""
ALIGNED = {"semi_supervised": Given(torch.full((CLASSES,), 1 / CLASSES))}


@every_method
class TestEveryMethod:
    def test_streams_and_networks(self, name: str) -> None:
        method = build(name)
        assert "labeled" in method.streams
        assert set(method.streams) <= set(batches())
        assert method.networks["student"] is method.student

    @pytest.mark.parametrize("size", [1, 3])
    def test_a_step_gives_losses_and_moves_nothing(self, name: str, size: int) -> None:
        method = build(name)
        before, random, given = weights(method), torch.get_rng_state(), batches(size=size)
        result = stepped(method, given)
        for loss in result.losses.values():
            assert (loss.shape, loss.dtype) == ((), torch.float32)
            assert torch.isfinite(loss) and loss.requires_grad
        for value in result.logs.values():
            assert value.shape in ((), (CLASSES,))
            assert not value.requires_grad
        result.total.backward()
        for other, network in method.networks.items():
            found = [parameter.grad is not None for parameter in network.parameters()]
            assert all(found) if other == "student" else not any(found)
            for key, parameter in network.named_parameters():
                assert torch.equal(parameter, before[f"{other}.{key}"])
        for stream, one in batches(size=size).items():
            assert all(map(torch.equal, one[:3], given[stream][:3]))
        assert torch.equal(random, torch.get_rng_state())

    def test_training_depends_on_the_seeds_alone(self, name: str) -> None:
        results = []
        for other in (1, 2):
            torch.manual_seed(other)
            method = build(name)
            take(method, range(3))
            results.append(weights(method))
        assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])

    def test_its_networks_and_its_state_are_all_that_a_resumed_run_needs(self, name: str) -> None:
        assert_resumes(name, {}, ALIGNED.get(name))

    def test_training_lowers_the_supervised_loss(self, name: str) -> None:
        method, seen = build(name), []
        optimizer = torch.optim.Adam(method.student.parameters(), lr=3e-3)
        for step in range(12):
            loss = stepped(method, step=step).losses["supervised"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(float(loss.detach()))
        assert seen[-1] < 0.9 * seen[0]

    def test_outputs_are_gone_after_their_backward_pass(self, name: str) -> None:
        method = build(name)
        made: list[weakref.ref[Tensor]] = []
        method.student.upsampling.register_forward_hook(
            lambda module, arguments, output: made.append(weakref.ref(output))
        )
        alive: list[int] = []

        class Freed(Stepped):
            def __call__(
                self, losses: Mapping[str, Tensor], outputs: Mapping[str, StreamOutput] = NOTHING
            ) -> None:
                gc.collect()
                alive.append(sum(one() is not None for one in made))

        given: dict[str, Batch] = batches()
        method.step(given, random_of(0), Freed())
        assert len(made) == len(alive)
        if name != "distillation":  # it compares features too, and holds both until the end
            assert alive == [1] * len(alive)

    def test_it_takes_every_mix_of_labeled_images(self, name: str) -> None:
        plain = stepped(build(name), batches(size=3)).value("supervised")
        for mixer in MIXERS:
            result = stepped(build(name, {"mixing.labeled": mixer}), batches(size=3))
            assert torch.isfinite(result.total)
            assert (result.value("supervised") == plain) == (mixer == "none")


def assert_resumes(name: str, changes: Mapping[str, Any], given: Given | None) -> None:
    """Two steps and two more of another start, which gets networks and state, are four steps."""
    straight, first = (build(name, changes, given) for _ in range(2))
    second = build(name, changes, given, seed=3)
    take(straight, range(4))
    take(first, range(2))
    assert second.networks.keys() == first.networks.keys()
    for key, network in first.networks.items():
        second.networks[key].load_state_dict(network.state_dict())
    assert second.state.keys() == first.state.keys()
    for key, value in first.state.items():
        second.state[key].copy_(value)
    take(second, range(2, 4))
    found, wanted = weights(second), weights(straight)
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("recipe", list(STATEFUL))
def test_a_recipe_with_a_state_goes_on_as_if_nothing_had_been(recipe: str) -> None:
    name, changes = STATEFUL[recipe]
    given = Given(torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05]))
    assert_resumes(name, changes, given if "targets.alignment" in changes else None)


OFF: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "terms of weight 0": (
        {},
        {
            "terms": ("masked", "feature-dropout", "feature-distance"),
            "masked.weight": 0.0,
            "feature_dropout.weight": 0.0,
            "feature_distance.weight": 0.0,
        },
    ),
    "joint passes of one view": ({}, {"views.count": 1, "views.joint": True}),
    "everything mixed, once": ({}, {"mixing.probability": 1.0, "mixing.partners": 1}),
    "a margin of no pixels": ({}, {"targets.margin": (0, 0, 0, 0)}),
    "no channel dropped": (
        {"views.count": 2},
        {"views.count": 2, "views.channel_dropout": "independent", "views.dropout_rate": 0.0},
    ),
    "pairs of which no image is one": (
        {"views.count": 2},
        {"views.count": 2, "views.channel_dropout": "complementary", "views.dropout_share": 0.0},
    ),
    "one teacher's turn": (
        {},
        {"teacher.name": "alternating", "teacher.turn": 100},
    ),
    "no pixel of high entropy": (
        {"targets.weighting": "constant"},
        {"targets.weighting": "percentile", "targets.dropped": 0.0},
    ),
    "margins of every size": (
        {"targets.weighting": "constant"},
        {"targets.weighting": "neighbors", "targets.margin_kept": 1.0},
    ),
    "thresholds that never move": (
        {"targets.weighting": "pixelwise", "targets.threshold": 0.4},
        {
            "targets.weighting": "class-adaptive",
            "targets.class_decay": 1.0,
            "targets.threshold": 0.4,
        },
    ),
}
"""What is off -> settings without it, and settings that ask for nothing of it."""


@pytest.mark.parametrize("case", list(OFF))
def test_what_is_off_changes_no_bit(case: str) -> None:
    plain, off = (build("semi_supervised", changes) for changes in OFF[case])
    for method in (plain, off):
        take(method, range(2))
    found, wanted = weights(off), weights(plain)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_means_over_valid_pixels_are_those_over_all_where_nothing_is_padded() -> None:
    given = batches()
    given["unlabeled"] = given["unlabeled"]._replace(
        valid=torch.ones_like(given["unlabeled"].valid)
    )
    values = [
        stepped(build(changes={"targets.normalize": over}), given).value("consistency")
        for over in ("all", "valid")
    ]
    assert values[0] == values[1]


def test_random_generators_of_a_step_are_its_own() -> None:
    def draws(seed: int, step: int, micro_batch: int) -> list[float]:
        random = StepRandom.of(seed, step, micro_batch, torch.device("cpu"))
        return [float(torch.rand((), generator=one)) for one in random[:2]]

    assert draws(0, 1, 0) == draws(0, 1, 0)
    values = [draws(*key) for key in ((0, 1, 0), (1, 1, 0), (0, 2, 0), (0, 1, 1))]
    assert len({value for pair in values for value in pair}) == 8
