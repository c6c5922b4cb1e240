"""Training that starts from a network of an earlier run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from mixseg.config.resolve import resolve_settings
from mixseg.config.sections import Settings
from mixseg.data.contract import ClassSet
from mixseg.errors import CheckpointError, ConfigError
from mixseg.models import ModelSpec, SegmentationModel, build_model
from mixseg.training.build import Given, build_learner
from mixseg.training.checkpoint import write_checkpoint
from mixseg.training.checks import check_settings
from mixseg.training.saved_network import network_card

NAMES = ("road", "sky", "car")
# What no default has: colors that do not go with the backbone, and strides of the original.
SPEC = ModelSpec(
    architecture="deeplabv2",
    backbone="resnet18",
    num_classes=3,
    output_stride=16,
    options={"model.rates": (1, 2)},
    align_corners=True,
    mean=(0.1, 0.2, 0.3),
    std=(0.5, 0.6, 0.7),
    channel_order="bgr",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SegmentationModel]:
    """A run with one checkpoint, and the teacher in it."""
    path = tmp_path_factory.mktemp("run")
    torch.manual_seed(5)
    student, teacher = build_model(SPEC), build_model(SPEC)
    tensors = {"student": student.state_dict(), "teacher": teacher.state_dict()}
    (path / "checkpoints").mkdir()
    card = network_card(SPEC, ClassSet.of(NAMES), {}) | {"step": 2}
    write_checkpoint(path / "checkpoints" / "step-00000002", tensors, card)
    return path, teacher


def starting_from(weights: Path, **changes: object) -> Settings:
    own = {"architecture": "deeplabv2", "backbone": "resnet18", "rates": [1, 2]}
    own |= {"output_stride": 16, "batch_norm": "frozen", "weights": str(weights)}
    values = {f"model.{key}": value for key, value in (own | changes).items()}
    return resolve_settings([], values | {"method": "supervised", "training.device": "cpu"})


def logits(network: SegmentationModel) -> torch.Tensor:
    images = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return network.eval()(images)


def test_the_network_of_a_run_is_taken_as_it_is(
    run: tuple[Path, SegmentationModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, teacher = run
    monkeypatch.setenv("HOME", str(path.parent))
    check_settings(starting_from(Path("~") / path.name))
    checkpoint = path / "checkpoints" / "step-00000002"
    for weights in (path, checkpoint, checkpoint / "teacher.safetensors"):
        settings = starting_from(weights)
        check_settings(settings)
        learner, report = build_learner(settings, 3, Given(), classes=NAMES)
        assert report is not None
        assert report.head
        student = learner.method.student
        assert student.spec == SPEC
        torch.testing.assert_close(logits(student), logits(teacher))
    other, _ = build_learner(starting_from(checkpoint / "student.safetensors"), 3, Given())
    assert not torch.allclose(logits(other.method.student), logits(teacher))


def test_settings_come_before_the_run(run: tuple[Path, SegmentationModel]) -> None:
    settings = starting_from(run[0], channel_order="rgb", mean=[0.4, 0.4, 0.4])
    spec = build_learner(settings, 3, Given())[0].method.student.spec
    assert spec == dataclasses.replace(SPEC, channel_order="rgb", mean=(0.4, 0.4, 0.4))


def test_a_classifier_of_other_classes_starts_afresh(run: tuple[Path, SegmentationModel]) -> None:
    for names in (("leaf", "stem", "soil"), ("road", "car", "sky")):
        learner, report = build_learner(starting_from(run[0]), 3, Given(), classes=names)
        assert report is not None and not report.head
        for key, value in learner.method.student.state_dict().items():
            if not key.endswith("bias"):  # those of a new head are 0, as those of the old one
                same = torch.equal(value, run[1].state_dict()[key])
                assert same == key.startswith("backbone."), key


def test_what_is_refused(run: tuple[Path, SegmentationModel], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no checkpoints"):
        check_settings(starting_from(tmp_path))
    with pytest.raises(ConfigError, match=r"model\.weights_sha256"):
        check_settings(starting_from(run[0], weights_sha256="0" * 64))
    stray = run[0] / "checkpoints" / "step-00000002" / "optimizer.safetensors"
    stray.touch()
    with pytest.raises(CheckpointError, match="give one of student, teacher"):
        check_settings(starting_from(stray))
    with pytest.raises(CheckpointError, match=r"belong to this model\.backbone"):
        build_learner(starting_from(run[0], backbone="test_resnet"), 3, Given())
