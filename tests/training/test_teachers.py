"""Teachers: classes by name, torchvision's files, and that they never change."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models.segmentation import fcn_resnet50

from mixseg.config.resolve import resolve_settings
from mixseg.data.contract import ClassSet
from mixseg.data.voc import VOC
from mixseg.errors import CheckpointError, ConfigError
from mixseg.models import FixedTeacher, check_model_settings
from mixseg.training.distilled_settings import student_of_name
from mixseg.training.saved_network import SavedNetworks
from mixseg.training.teachers import (
    find_teacher,
    fixed_teacher,
    keep_teacher,
    kept_teacher,
    read_torchvision_fcn,
)
from tests.models.build import small_model

ROOT = Path(__file__).parents[2]

KNOWN = ("sky", "road", "car", "tree", "person")


def images(seed: int = 0, size: tuple[int, int] = (40, 56)) -> torch.Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed))


def test_classes_are_matched_by_name() -> None:
    network = small_model(0).eval()
    wanted = ("person", "sky", "tree")
    with torch.no_grad():
        logits = network(images())
    found = FixedTeacher(network, KNOWN, wanted)(images())
    torch.testing.assert_close(found, logits[:, [KNOWN.index(name) for name in wanted]])
    with pytest.raises(ConfigError, match="bus, train"):
        FixedTeacher(network, KNOWN, ("sky", "bus", "train"))


def test_a_teacher_never_changes() -> None:
    teacher = FixedTeacher(small_model(0), KNOWN, KNOWN)
    before = copy.deepcopy(teacher.network.state_dict())
    nn.ModuleList([teacher]).train()
    teacher(images(1))
    assert not any(layer.training for layer in teacher.modules())
    answer = teacher.forward_with_features(images())
    assert not answer.logits.requires_grad and not answer.features.requires_grad
    after = teacher.network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    # Nothing of one image reaches the answer about another, as it would with batch statistics.
    torch.testing.assert_close(teacher(images())[:1], teacher(images()[:1]))


@pytest.fixture(scope="module")
def torchvision_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    torch.manual_seed(0)
    network = fcn_resnet50(weights=None, weights_backbone=None, num_classes=21, aux_loss=True)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):  # others than those that a new network has
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.8, 1.2)
    path = tmp_path_factory.mktemp("weights") / "fcn_resnet50_coco.pth"
    torch.save(network.state_dict(), path)
    return network.eval(), path


def test_torchvisions_network_gives_the_same_answer(
    torchvision_file: tuple[nn.Module, Path],
) -> None:
    network, path = torchvision_file
    ours = read_torchvision_fcn(path)
    batch = images(1, (65, 97))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = network((batch - mean.view(3, 1, 1)) / std.view(3, 1, 1))["out"]
        found = ours(batch)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    # Its classes are those of VOC.
    saved = found_in(path)
    assert fixed_teacher(saved, VOC).in_order
    assert ours.spec.backbone == "resnet50"
    with pytest.raises(ConfigError, match="road, sky"):
        fixed_teacher(saved, ClassSet.of(("road", "sky")))


def found_in(teacher: Path) -> SavedNetworks:
    saved = find_teacher(
        {
            "method": "distillation",
            "distillation.teacher": str(teacher),
            "distillation.network": "teacher",
        }
    )
    assert saved is not None
    return saved


def test_files_that_cannot_teach_are_refused(
    torchvision_file: tuple[nn.Module, Path], tmp_path: Path
) -> None:
    network, _ = torchvision_file
    with pytest.raises(CheckpointError, match="nothing"):
        found_in(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="empty"):
        found_in(tmp_path / "empty")
    tensors = network.state_dict()
    wrong = {
        "other": ({"fc.weight": torch.zeros(2)}, "fcn_resnet101"),
        "classes": (tensors | {"classifier.4.weight": torch.zeros(3, 512, 1, 1)}, "3 classes"),
        "part": ({key: one for key, one in tensors.items() if "layer2" not in key}, "layer2"),
    }
    for name, (content, message) in wrong.items():
        file = tmp_path / f"{name}.pth"
        torch.save(content, file)
        with pytest.raises(CheckpointError, match=message):
            found_in(file)


def test_a_run_keeps_its_teacher(tmp_path: Path) -> None:
    student = ClassSet.of(("tree", "sky"))
    regularized = {"regularizer": "adversarial-temperature", "adversarial.temperature_g": 0.5}
    network = small_model(0).eval()
    run = Path("runs/first")
    keep_teacher(
        tmp_path, SavedNetworks(run, 8, {"student": network}, ClassSet.of(KNOWN), regularized)
    )
    again = kept_teacher(tmp_path, student)
    # It answers at the temperature of its training.
    expected = 2 * FixedTeacher(network, KNOWN, student.names)(images())
    torch.testing.assert_close(again(images()), expected)
    file = tmp_path / "teacher" / "teacher.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 64
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"teacher\.safetensors: damaged"):
        kept_teacher(tmp_path, student)
    file.unlink()
    with pytest.raises(CheckpointError, match=r"teacher\.safetensors: cannot be read"):
        kept_teacher(tmp_path, student)


def test_a_student_in_a_word() -> None:
    enet = resolve_settings([], student_of_name("enet"))
    assert (enet.model.architecture, enet.model.weights) == ("enet", "none")
    for preset in ("demo", "compress", "voc_fcn"):  # whatever network the preset has
        given = student_of_name("mobilenetv3_small_100") | {"distillation.teacher": "/run"}
        settings = resolve_settings([ROOT / "configs" / "distill" / f"{preset}.yaml"], given)
        check_model_settings(settings.model, settings.options)
        assert settings.model.architecture == "deeplabv2"
    with pytest.raises(ConfigError, match="fcn8s"):
        student_of_name("fcn8s")
    with pytest.raises(ConfigError, match="mobilenetv3_small_100"):
        student_of_name("mobilenetv3_smal_100")
