"""What a distilled run takes from its teacher where its user says nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mixseg.commands.parsing import Namespace
from mixseg.commands.presets import configuration_file, presets_folder
from mixseg.distillation.settings import data_of_teacher, student_of_name
from mixseg.errors import CheckpointError, ConfigError
from mixseg.strict_yaml import load_yaml


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
