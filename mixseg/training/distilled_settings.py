"""Settings of a distilled run that follow from its teacher and the name of its student."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm

from mixseg.config.presets import configuration_file, presets_folder
from mixseg.config.schema import schema
from mixseg.config.yaml import load_yaml
from mixseg.errors import CheckpointError, ConfigError, unknown_name
from mixseg.models import WholeNetwork
from mixseg.registry import ARCHITECTURES
from mixseg.training.saved_network import load_settings

LOG = logging.getLogger("mixseg")

OWN = tuple(
    f"data.{name}"
    for name in (
        *("workers", "batch_labeled", "batch_unlabeled"),
        *("crop", "padding", "scale", "scale_step", "rotate", "flip"),
    )
)
"""Settings of the data in which a student need not follow its teacher."""


def files_and_settings(
    config: Sequence[str], student: str | None, given: Mapping[str, Any]
) -> tuple[list[Path], dict[str, Any]]:
    """The configuration files of a new run, and settings that follow from teacher and student.

    Where no file says anything of the data, they are those of the teacher's run.

    Args:
        config: Files and presets that were named.
        student: See :func:`student_of_name`.
        given: Setting path -> value, of the flags.
    """
    network = {} if student is None else student_of_name(student)
    if network and "model.backbone" in given:
        raise ConfigError("--student and --backbone both name the student; give one of them")
    files = [configuration_file(name) for name in config]
    contents = [load_yaml(file).data for file in files]
    if any({"data", "demo", "source_domain"} & set(content) for content in contents):
        return files, network
    said = {
        f"distillation.{key}": value
        for content in contents
        for key, value in dict(content.get("distillation") or {}).items()
    } | dict(given)
    teacher = said.get("distillation.teacher")
    if teacher is None:
        raise ConfigError("--teacher is missing: a run to learn from, such as runs/NAME")
    path = Path(str(teacher)).expanduser()
    presets = presets_folder() / "distill"
    if not path.exists():
        raise CheckpointError(
            f"--teacher {teacher}: there is no such run, checkpoint or weight file"
        )
    if path.is_file():  # of torchvision, which knows the classes of VOC
        return files or [presets / "voc_fcn.yaml"], network
    data = data_of_teacher(path)
    if {"data.labeled", "data.unlabeled", "distillation.unlabeled"} & set(said):
        data.pop("distillation.unlabeled", None)  # what all labels imply is not asked for
    if "data.dataset" in given and given["data.dataset"] != data["data.dataset"]:
        raise ConfigError(
            f"--dataset {given['data.dataset']}: the teacher was trained on "
            f"{data['data.dataset']}; for other data give --config FILE"
        )
    demo = data["data.dataset"] == "demo"
    return files or [presets / ("demo.yaml" if demo else "compress.yaml")], data | network


def data_of_teacher(teacher: Path) -> dict[str, Any]:
    """Setting path -> value: the data that a run was trained with, and their labeled part.

    Where all images are labeled, no unlabeled ones are asked for.

    Args:
        teacher: A run or one of its checkpoints.

    Raises:
        CheckpointError: It cannot be read.
    """
    saved = load_settings(teacher)
    known = schema()
    sections = ("data.", "demo.", "source_domain.")
    taken = {
        key: value
        for key, value in saved.items()
        if (key in known and key.startswith(sections) and key not in OWN) or key == "imports"
    }
    if taken.get("data.split_seed") is None:
        taken["data.split_seed"] = saved["seed"]
    if taken.pop("data.labeled_target", None) is not None:
        LOG.info("note: labels of the target, of which the teacher has had some, are not taken")
    nothing_left = taken["data.labeled"] == "full" and taken.get("data.unlabeled") is None
    if nothing_left and taken.get("source_domain.dataset") is None:
        taken["distillation.unlabeled"] = 0.0
    return taken


def student_of_name(name: str) -> dict[str, Any]:
    """Setting path -> value for a student in a word: an architecture of its own, or a backbone.

    Args:
        name: A whole network such as ``enet``, or a timm model for a DeepLabv2 head on it.

    Raises:
        ConfigError: It is neither.
    """
    whole = {
        key: architecture
        for key in ARCHITECTURES
        if isinstance(architecture := ARCHITECTURES.build(key, {}), WholeNetwork)
    }
    if name in whole:
        needs = {f"model.{key}": choices[0] for key, choices in whole[name].needs.items()}
        return {"model.architecture": name} | needs
    if name in ARCHITECTURES:
        raise ConfigError(
            f"--student {name}: is a head that goes on a backbone; name the backbone, and say "
            f"--model.architecture {name}. Whole networks are: {', '.join(whole)}"
        )
    base = name.split(".", 1)[0]
    if not timm.is_model(base):
        choices = [*whole, *timm.list_models()]
        raise ConfigError(f"--student: {unknown_name('student', name, choices, 'See --help')}")
    return {"model.architecture": "deeplabv2", "model.backbone": name}
