"""Three steps of each recipe against a transcription of its paper, in float64."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from mixseg.data.streams import Batch
from mixseg.models import FixedTeacher
from mixseg.training.build import Given
from mixseg.training.loop import Learner
from mixseg.training.precision import Precision
from tests.methods.build import NAMES, batch, build, random_of
from tests.models.build import small_model
from tests.oracles import recipes
from tests.oracles.recipes import CLASSES, DECAY, JITTER, MARGIN, THRESHOLD, UNSUPERVISED, WANTED

STEPS = 3
BOXES: dict[str, Any] = {
    "mixing.mixer": "cutmix",
    "mixing.area": (0.02, 0.4),
    "mixing.probability": 0.5,
    "augmentation.name": "per-image",
    "augmentation.blur_probability": 0.0,
    "targets.weighting": "pixelwise",
    "targets.threshold": THRESHOLD,
    "targets.unsupervised_weight": UNSUPERVISED,
    "targets.normalize": "valid",
    "teacher.decay": DECAY,
}
EVAL = {**BOXES, "teacher.mode": "eval"}
SHARE: dict[str, Any] = {
    "targets.threshold": THRESHOLD,
    "targets.margin": MARGIN,
    "teacher.decay": DECAY,
    **{key: one for key, one in JITTER.items() if key != "augmentation.blur"},
}


class Recipe(NamedTuple):
    step: recipes.Step
    changes: dict[str, Any]
    method: str = "semi_supervised"
    optimizer: str = "sgd"


RECIPES = {
    "FixMatch": Recipe(recipes.fixmatch, EVAL),
    "UniMatch": Recipe(
        recipes.unimatch,
        BOXES
        | {
            "teacher.name": "self",
            "views.count": 2,
            "terms": ("feature-dropout",),
            "feature_dropout.weight": 0.5,
        },
    ),
    "UniMatch V2": Recipe(
        recipes.unimatch_v2,
        EVAL
        | {
            "targets.unsupervised_weight": 1.0,
            "views.count": 2,
            "views.channel_dropout": "complementary",
            "views.dropout_share": 0.6,
        },
        optimizer="adamw",
    ),
    "AugSeg": Recipe(
        recipes.augseg,
        {
            "mixing.mixer": "cutmix",
            "mixing.area": (0.02, 0.4),
            "augmentation.name": "randaugment",
            "targets.weighting": "constant",
            "targets.normalize": "valid",
            "teacher.decay": DECAY,
        },
    ),
    "class-adaptive": Recipe(
        recipes.adaptive,
        EVAL | {"targets.weighting": "class-adaptive", "targets.class_decay": 0.9},
    ),
    "U2PL": Recipe(
        recipes.u2pl, EVAL | {"targets.weighting": "percentile", "targets.dropped_steps": 4}
    ),
    "S4MC": Recipe(recipes.s4mc, EVAL | {"targets.weighting": "neighbors"}),
    "alternating teachers": Recipe(
        recipes.alternating, EVAL | {"teacher.name": "alternating", "teacher.turn": 1}
    ),
    "self teacher": Recipe(recipes.by_the_student, BOXES | {"teacher.name": "self"}),
    "frozen teacher": Recipe(
        recipes.by_a_frozen_network,
        BOXES | {"teacher.name": "frozen", "distillation.teacher": "/run"},
    ),
    "aligned labels": Recipe(
        recipes.by_aligned_labels,
        EVAL
        | {
            "targets.alignment": "labeled",
            "targets.alignment_of": "labels",
            "targets.alignment_rate": 0.2,
            "targets.alignment_decay": 0.9,
        },
    ),
    "pasted labels": Recipe(recipes.pasting_labels, SHARE | {"mixing.pasted_from": "labeled"}),
    "DAFormer": Recipe(
        recipes.daformer,
        SHARE
        | {
            "teacher.flip": True,
            "terms": ("feature-distance",),
            "feature_distance.weight": 0.05,
            "feature_distance.classes": ("0", "3"),
            "feature_distance.covered": 0.2,
        },
        "domain_adaptation",
        "adamw",
    ),
    "MIC": Recipe(
        recipes.mic,
        SHARE | {"terms": ("masked",), "masked.weight": 0.8, "masked.block": 12},
        "domain_adaptation",
    ),
    "labeled target": Recipe(
        recipes.with_labeled_target,
        SHARE
        | {
            "data.labeled_target": "1/4",
            "supervised_loss.target_weight": 0.7,
            "mixing.pasted_from": "both",
        },
        "domain_adaptation",
    ),
}


@pytest.fixture
def _double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What mixseg would compute in float32 is computed in float64."""
    kept = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    monkeypatch.setattr(torch, "float32", torch.float64)
    yield
    torch.set_default_dtype(kept)


def given_in(step: int) -> dict[str, Batch]:
    return {
        "labeled": batch(step, 2),
        "unlabeled": batch(100 + step, 3, labeled=False),
        "target": batch(200 + step, 1),
    }


def optimizer_of(name: str, network: nn.Module) -> torch.optim.Optimizer:
    if name == "sgd":
        return torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    return torch.optim.AdamW(network.parameters(), 1e-3)


def assert_same(found: nn.Module, wanted: nn.Module) -> None:
    for (name, one), other in zip(
        found.state_dict().items(), wanted.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(
            one, other, rtol=1e-6, atol=1e-9, msg=lambda told, name=name: f"{name}: {told}"
        )


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize("name", RECIPES)
def test_steps_are_those_of_the_paper(name: str) -> None:
    recipe = RECIPES[name]
    frozen = small_model(2)
    given = Given(
        distribution=torch.tensor(WANTED) if "targets.alignment" in recipe.changes else None,
        teacher=FixedTeacher(copy.deepcopy(frozen), NAMES, NAMES),
        class_names=NAMES,
    )
    method = build(recipe.method, recipe.changes, given)
    assert method.student.spec.num_classes == CLASSES
    pair = getattr(method.teacher, "pair", None)
    followers = (
        [one.network for one in pair]
        if pair
        else [network for key, network in method.networks.items() if key != "student"]
    )
    run = recipes.Run(method.student, [*followers, frozen])
    plain = optimizer_of(recipe.optimizer, run.student)
    learner = Learner(
        method,
        optimizer_of(recipe.optimizer, method.student),
        Precision("fp32", torch.device("cpu")),
        (),
        seed=0,
        clip_norm=None,
    )
    for step in range(STEPS):
        batches = given_in(step)
        losses = recipe.step(run, batches, random_of(step))
        taken = {stream: batches[stream] for stream in method.streams}
        found = learner.gradients([taken], step)
        assert found.losses.keys() == losses.keys()
        for key, loss in losses.items():
            assert float(loss.detach()) > 1e-4
            torch.testing.assert_close(found.losses[key], loss.detach(), rtol=1e-6, atol=0)

        torch.stack(list(losses.values())).sum().backward()
        for (key, one), other in zip(
            method.student.named_parameters(), run.student.parameters(), strict=True
        ):
            assert one.grad is not None, key
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=1e-9)
        learner.update(step)
        plain.step()
        plain.zero_grad()
        run.follow(step, step % 2 if pair else 0)
        assert_same(method.student, run.student)
        for one, other in zip(followers, run.teachers, strict=False):
            assert_same(one, other)
    # What was frozen has not moved.
    assert_same(frozen, run.teachers[-1])
