"""Settings that follow from a teacher and from the name of a student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm

from mixseg.config.schema import schema
from mixseg.errors import ConfigError, unknown_name
from mixseg.models import WholeNetwork
from mixseg.registry import ARCHITECTURES
from mixseg.training.saved_network import load_settings

OWN = tuple(
    f"data.{name}"
    for name in (
        *("workers", "batch_labeled", "batch_unlabeled"),
        *("crop", "padding", "scale", "scale_step", "rotate", "flip"),
    )
)
"""Settings of the data in which a student need not follow its teacher."""


def data_of_teacher(teacher: Path) -> dict[str, Any]:
    """Setting path -> value: the data that a run was trained with, and their labelled part.

    Where all images are labelled, no unlabelled ones are asked for.

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
