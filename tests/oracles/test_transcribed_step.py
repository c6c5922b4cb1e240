"""The transcribed step takes a network where mixseg's step takes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from mixseg.analysis.noise import random_batches, training_step
from mixseg.config.resolve import resolve_settings
from mixseg.config.sections import Settings
from mixseg.errors import ConfigError
from mixseg.models import build_model
from mixseg.training.build import Given, build_learner
from tests.models.build import SMALL
from tests.oracles.transcribed_step import TranscribedStep

CLASSES, SIZE, STEPS = 5, (96, 64), 3
TINY: dict[str, Any] = {
    "model.backbone": "test_resnet",
    "model.output_stride": 16,
    "model.rates": (1, 2),
    "model.weights": "none",
    "model.batch_norm": "train",
    "training.precision": "fp32",
    "training.channels_last": False,
    "training.device": "cpu",
    "optimizer.lr": 0.01,
    "targets.threshold": 0.25,
}


CONFIGS = Path(__file__).parents[2] / "configs"


def settings_of(preset: str | None = None, **changes: object) -> Settings:
    files = [] if preset is None else [CONFIGS / preset]
    tiny = TINY if preset is None else {key: TINY[key] for key in TINY if key != "model.rates"}
    return resolve_settings(
        files, tiny | {key.replace("__", "."): one for key, one in changes.items()}
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"mixing__mixer": "classmix", "teacher__buffers": "own"},
        {"mixing__mixer": "cutmix", "optimizer__name": "adamw", "optimizer__lr": 1e-4},
        {"preset": "ssl/cityscapes_published.yaml"},
        {"preset": "ssl/voc_published.yaml", "data__batch_labeled": 2, "data__batch_unlabeled": 3},
        {"augmentation__color_jitter": 0.25, "augmentation__color_jitter_probability": 1.0},
    ],
)
def test_some_steps(changes: dict[str, Any]) -> None:
    settings = settings_of(**changes)
    learner, _ = build_learner(settings, CLASSES, Given())
    counts = {"labeled": settings.data.batch_labeled, "unlabeled": settings.data.batch_unlabeled}
    batches = random_batches(settings.seed, counts, dict.fromkeys(counts, SIZE), CLASSES)
    plain = TranscribedStep(learner.method.student, settings)
    assert learner.method.student.head.by_taps and not plain.student.head.by_taps
    before = {key: value.clone() for key, value in plain.student.state_dict().items()}
    own = training_step(learner, batches, settings.training.accumulate)
    transcribed = plain.advancing(batches, settings.seed, torch.device("cpu"))
    for step in range(STEPS):
        own(step)
        transcribed(step)
    moved = 0.0
    for expected, found in (
        (learner.method.student, plain.student),
        (learner.method.networks["teacher"], plain.teacher),
    ):
        parameters = dict(found.named_parameters())
        for name, parameter in expected.named_parameters():
            torch.testing.assert_close(parameters[name], parameter, rtol=1e-3, atol=5e-5)
            moved = max(moved, float((parameter - before[name]).detach().abs().max()))
    assert moved > 1e-3
    if settings.options["teacher.buffers"] == "own":
        buffers = dict(plain.teacher.named_buffers())
        for name, buffer in learner.method.networks["teacher"].named_buffers():
            torch.testing.assert_close(buffers[name], buffer, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [("method", "supervised"), ("mixing__mixer", "none"), ("training__accumulate", 2)],
)
def test_what_has_no_transcription_is_refused(name: str, value: object) -> None:
    model = build_model(dataclasses.replace(SMALL, num_classes=CLASSES))
    with pytest.raises(ConfigError, match=name.replace("__", r"\.")):
        TranscribedStep(model, settings_of(**{name: value}))
