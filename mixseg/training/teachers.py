"""Trained networks to learn from: runs of mixseg, and weight files of torchvision."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mixseg.config.effect import asked_for
from mixseg.data.contract import ClassSet
from mixseg.data.voc import VOC
from mixseg.errors import CheckpointError
from mixseg.models import (
    FixedTeacher,
    ModelSpec,
    SegmentationModel,
    build_model,
    load_weights,
    read_weight_file,
)
from mixseg.models.backbone import IMAGENET_MEAN, IMAGENET_STD
from mixseg.training.checkpoint import write_checkpoint
from mixseg.training.saved_network import SavedNetworks, load_networks, network_card

COPY = "teacher"
"""Folder within a run that holds its teacher: a checkpoint like any other."""


def find_teacher(values: Mapping[str, Any]) -> SavedNetworks | None:
    """The trained teacher that a new run names, before any data is read; None if it needs none.

    Args:
        values: Setting path -> value.

    Messages say which network it is, and which damaged checkpoints were passed over.

    Raises:
        CheckpointError: It is missing or damaged, or no network that can teach.
    """
    if not asked_for(values, "trained_teacher") or values["distillation.teacher"] is None:
        return None
    path = Path(values["distillation.teacher"]).expanduser()
    if path.is_file():
        return SavedNetworks(path, 0, {"teacher": read_torchvision_fcn(path)}, VOC, {})
    if not path.is_dir():
        raise CheckpointError(
            f"distillation.teacher: {path}: there is no such run, checkpoint or weight file"
        )
    # Of the best checkpoints each holds one network.
    which = values["distillation.network"]
    saved = load_networks(path, "either" if which == "teacher" else which)
    saved.report("--distillation.network")
    return saved


def fixed_teacher(saved: SavedNetworks, classes: ClassSet) -> FixedTeacher:
    """The teacher of a student with these classes; a ConfigError if it does not know them all."""
    (network,) = saved.networks.values()
    regularized = saved.settings.get("regularizer") == "adversarial-temperature"
    temperature = saved.settings["adversarial.temperature_g"] if regularized else 1.0
    return FixedTeacher(network, saved.classes.names, classes.names, temperature)


def keep_teacher(run: Path, saved: SavedNetworks) -> None:
    """Copy a teacher into the folder of a run, which then depends on no other."""
    (network,) = saved.networks.values()
    card = network_card(network.spec, saved.classes, saved.settings)
    state = card | {"step": saved.step, "from": str(saved.path)}
    write_checkpoint(run / COPY, {"teacher": network.state_dict()}, state)


def kept_teacher(run: Path, classes: ClassSet) -> FixedTeacher:
    """The teacher that a run has kept."""
    return fixed_teacher(load_networks(run / COPY, "either"), classes)


def read_torchvision_fcn(path: Path) -> SegmentationModel:
    """torchvision's ``fcn_resnet101`` or ``fcn_resnet50`` for VOC, from a local file of weights.

    The auxiliary classifier is left out, as it is when torchvision's own network answers.

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
