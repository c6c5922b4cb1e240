"""What a distilled run takes from its teacher where its user says nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm

from mixseg.commands.parsing import Namespace
from mixseg.commands.presets import configuration_file, presets_folder
from mixseg.config.schema import schema
from mixseg.errors import CheckpointError, ConfigError, unknown_name
from mixseg.models import WholeNetwork
from mixseg.registry import ARCHITECTURES
from mixseg.strict_yaml import load_yaml
from mixseg.training.saved_network import load_settings

OWN = tuple(
    f"data.{name}"
    for name in (
        *("workers", "batch_labeled", "batch_unlabeled"),
        *("crop", "padding", "scale", "scale_step", "rotate", "flip"),
    )
)
"""Settings of the data in which a student need not follow its teacher."""


def distillation_files(
    parsed: Namespace, overrides: dict[str, Any]
) -> tuple[list[Path], dict[str, Any]]:
    """The configuration files, and settings that follow from teacher and student.

    Where no file says anything of the data, they are those of the teacher's run.
    """
    student = {} if parsed.student is None else student_of_name(parsed.student)
    if student and "model.backbone" in overrides:
        raise ConfigError("--student and --backbone both name the student; give one of them")
    given = [configuration_file(name) for name in parsed.config]
    contents = [load_yaml(file).data for file in given]
    if any({"data", "demo", "source_domain"} & set(content) for content in contents):
        return given, student  # they say what the data are
    said = {
        f"distillation.{key}": value
        for content in contents
        for key, value in dict(content.get("distillation") or {}).items()
    } | overrides
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
        return given or [presets / "voc_fcn.yaml"], student
    data = data_of_teacher(path)
    if {"data.labeled", "data.unlabeled", "distillation.unlabeled"} & set(said):
        data.pop("distillation.unlabeled", None)  # what all labels imply is not asked for
    if "data.dataset" in overrides and overrides["data.dataset"] != data["data.dataset"]:
        raise ConfigError(
            f"--dataset {overrides['data.dataset']}: the teacher was trained on "
            f"{data['data.dataset']}; for other data give --config FILE"
        )
    demo = data["data.dataset"] == "demo"
    return given or [presets / ("demo.yaml" if demo else "compress.yaml")], data | student


def data_of_teacher(teacher: Path) -> dict[str, Any]:
    """Setting path -> value: the data that a run was trained with, and their labeled part.

    Where all images are labeled, no unlabeled ones are asked for.
    """
    saved = load_settings(teacher)
    known = schema()
    sections = ("data.", "demo.", "source_domain.")
    taken = {
        key: value
        for key, value in saved.items()
        if key in known and key.startswith(sections) and key not in OWN
    }
    if taken.get("data.split_seed") is None:
        taken["data.split_seed"] = saved["seed"]
    nothing_left = taken["data.labeled"] == "full" and taken.get("data.unlabeled") is None
    if nothing_left and taken.get("source_domain.dataset") is None:
        taken["distillation.unlabeled"] = 0.0
    return taken


def student_of_name(name: str) -> dict[str, Any]:
    """Setting path -> value for a whole network such as ``enet``, or a DeepLabv2 head on a timm
    model.

    Raises:
        ConfigError: The name is neither.
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
