"""Trained networks to learn from: runs of mixseg, and weight files of torchvision."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml
from torch import Tensor, nn

from mixseg.config import Settings
from mixseg.data.contract import ClassSet
from mixseg.data.voc import VOC
from mixseg.engine.saved_network import load_networks
from mixseg.engine.teacher import FixedTeacher
from mixseg.errors import CheckpointError, ConfigError
from mixseg.models import ModelSpec, SegmentationModel, build_model, load_weights, read_weight_file
from mixseg.models.backbone import IMAGENET_MEAN, IMAGENET_STD


class OpenedTeacher(NamedTuple):
    """A teacher, and what a run writes down of it.

    Attributes:
        network: On the CPU.
        record: YAML: the hash of its weights, where they were read, and what they are.
    """

    network: FixedTeacher
    record: str


def open_teacher(settings: Settings, classes: ClassSet) -> OpenedTeacher | None:
    """The teacher of a run whose student has these classes; None if its method learns from none.

    Raises:
        CheckpointError: It is missing or damaged, or no network that can teach.
        ConfigError: It does not know the classes of the student.
    """
    if settings.method != "distillation":
        return None
    chosen = settings.distillation
    assert chosen.teacher is not None
    path = Path(chosen.teacher).expanduser()
    about: dict[str, object]
    if path.is_dir():
        saved = load_networks(path, chosen.network)
        network, known = saved.networks[chosen.network], saved.classes
        about = {"checkpoint": str(saved.path), "network": chosen.network, "step": saved.step}
    elif path.is_file():
        network, known = read_torchvision_fcn(path), VOC
        about = {"file": str(path), "network": f"torchvision's fcn_{network.spec.backbone}"}
    else:
        raise CheckpointError(
            f"distillation.teacher: {path}: there is no such run, checkpoint or weight file"
        )
    record = {"sha256": weight_hash(network)} | about
    text: str = yaml.safe_dump(record, sort_keys=False, allow_unicode=True)
    return OpenedTeacher(FixedTeacher(network, known.names, classes.names), text)


def read_torchvision_fcn(path: Path) -> SegmentationModel:
    """torchvision's ``fcn_resnet101`` or ``fcn_resnet50`` from a local file of its weights.

    Both know the classes of VOC, in its order. The auxiliary classifier is left out, as it is when
    torchvision's own network answers.

    Raises:
        CheckpointError: The file is missing, damaged, unsafe, or of another network.
    """
    tensors = read_weight_file(str(path))
    backbone = _resnet_of(tensors)
    classes = tensors.get("classifier.4.weight")
    if backbone is None or classes is None:
        raise CheckpointError(
            f"distillation.teacher: {path}: holds neither fcn_resnet101 nor fcn_resnet50 of "
            "torchvision. Of other networks give a run of mixseg"
        )
    if len(classes) != len(VOC):
        raise CheckpointError(
            f"distillation.teacher: {path}: has {len(classes)} classes; torchvision's networks "
            f"have the {len(VOC)} of VOC, and the file does not say what others mean"
        )
    spec = ModelSpec(
        architecture="fcn",
        backbone=backbone,
        num_classes=len(VOC),
        output_stride=8,
        rates=(1,),
        align_corners=False,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    network = build_model(spec)
    report = load_weights(network, tensors, str(path))
    if not report.head or report.missing:
        raise CheckpointError(
            f"distillation.teacher: {path}: lacks weights of the network: {report.describe()}"
        )
    return network.eval()


def _resnet_of(tensors: Mapping[str, Tensor]) -> str | None:
    """Told by the length of the third stage; prefixes are gone already."""
    blocks = {int(m[1]) for key in tensors if (m := re.match(r"layer3\.(\d+)\.conv3\.", key))}
    return {23: "resnet101", 6: "resnet50"}.get(len(blocks))


def weight_hash(network: nn.Module) -> str:
    """SHA-256 of names, shapes and values of all weights and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_same_teacher(file: Path, record: str) -> None:
    """Refuse to go on with another teacher than a run was started with.

    Args:
        file: The record in the run's folder.
        record: Of the teacher that there is now.

    Raises:
        ConfigError: The record is missing or damaged, or has another hash.
    """
    try:
        saved = file.read_text(encoding="utf-8").splitlines()[0]
    except (OSError, ValueError, IndexError) as error:
        raise ConfigError(f"{file}: missing or damaged; the teacher cannot be checked") from error
    if saved != record.splitlines()[0]:
        raise ConfigError(
            f"{file.parent}: its teacher was another one: {file.name} says which. Give that one "
            "with --teacher, or start a new run"
        )
