"""Trained networks to learn from: runs of mixseg, and weight files of torchvision."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from rich.console import Console
from torch import Tensor, nn

from mixseg.config import Settings
from mixseg.data.contract import ClassSet
from mixseg.data.voc import VOC
from mixseg.engine.saved_network import load_networks
from mixseg.engine.teacher import FixedTeacher
from mixseg.errors import CheckpointError
from mixseg.escaping import printable
from mixseg.files import write_atomically
from mixseg.models import ModelSpec, SegmentationModel, build_model, load_weights, read_weight_file
from mixseg.models.backbone import IMAGENET_MEAN, IMAGENET_STD

RECORD = "teacher.json"
WEIGHTS = "teacher.safetensors"


def check_teacher(settings: Settings) -> None:
    """Refuse a teacher that is not there or is none, before any data is read.

    Raises:
        CheckpointError: It is missing or damaged, or no network that can teach.
    """
    if settings.distillation.teacher is None:
        return
    path = Path(settings.distillation.teacher).expanduser()
    if path.is_file():
        read_torchvision_fcn(path)
    elif path.is_dir():
        load_networks(path, settings.distillation.network)
    else:
        raise CheckpointError(
            f"distillation.teacher: {path}: there is no such run, checkpoint or weight file"
        )


def open_teacher(settings: Settings, classes: ClassSet, console: Console) -> FixedTeacher | None:
    """The teacher of a new run whose student has these classes; None if its method has none.

    Damaged checkpoints that were passed over are printed.

    Raises:
        CheckpointError: It is missing or damaged, or no network that can teach.
        ConfigError: It does not know the classes of the student.
    """
    if settings.method != "distillation":
        return None
    chosen = settings.distillation
    assert chosen.teacher is not None
    path = Path(chosen.teacher).expanduser()
    if path.is_file():
        return FixedTeacher(read_torchvision_fcn(path), VOC.names, classes.names)
    saved = load_networks(path, chosen.network)
    for problem in saved.problems:
        text = f"passed over: {printable(problem)}"
        console.print(text, style="yellow", markup=False, soft_wrap=True)
    regularized = saved.settings.get("regularizer") == "adversarial-temperature"
    return FixedTeacher(
        saved.networks[chosen.network],
        saved.classes.names,
        classes.names,
        saved.settings["adversarial.temperature_g"] if regularized else 1.0,
    )


def keep_teacher(run: Path, teacher: FixedTeacher, origin: str) -> None:
    """Copy a teacher into the folder of a run, which then depends on no other.

    Args:
        run: Folder of the run.
        teacher: To be kept.
        origin: Where it comes from, for people.
    """
    weights = {key: value.contiguous() for key, value in teacher.network.state_dict().items()}
    write_atomically(run / WEIGHTS, safetensors.torch.save(weights))
    content = {
        "from": origin,
        "sha256": weight_hash(teacher.network),
        "model": teacher.network.spec.to_json(),
        "classes": teacher.classes,
        "temperature": teacher.temperature,
    }
    write_atomically(run / RECORD, json.dumps(content, indent=1))


def read_teacher(run: Path, classes: ClassSet) -> FixedTeacher:
    """The teacher that a run has kept.

    Raises:
        CheckpointError: It is missing or damaged.
        ConfigError: It does not know the classes of the student.
    """
    try:
        content = json.loads((run / RECORD).read_text(encoding="utf-8"))
        network = build_model(ModelSpec.from_json(content["model"]))
        network.load_state_dict(safetensors.torch.load_file(run / WEIGHTS))
        known, temperature = tuple(content["classes"]), float(content["temperature"])
        intact = weight_hash(network) == content["sha256"]
    except Exception as error:  # a damaged file fails in many ways
        raise CheckpointError(f"{run / WEIGHTS}: the teacher is missing or damaged") from error
    if not intact:
        raise CheckpointError(f"{run / WEIGHTS}: damaged: its hash is not that of {RECORD}")
    return FixedTeacher(network, known, classes.names, temperature)


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
