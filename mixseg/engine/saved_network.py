"""Networks out of checkpoints: everything that evaluation and prediction need is in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from rich.console import Console

from mixseg.data.contract import ClassSet
from mixseg.engine.checkpoint import (
    MANIFEST,
    Checkpoint,
    CheckpointStore,
    listed_tensors,
    read_checkpoint,
)
from mixseg.errors import CheckpointError, MixsegError
from mixseg.escaping import printable
from mixseg.models import ModelSpec, SegmentationModel, build_model


def network_card(spec: ModelSpec, classes: ClassSet, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint records about its networks; JSON.

    Args:
        spec: Of the networks.
        classes: That their channels stand for.
        settings: Flat settings of the run; see :func:`mixseg.config.to_flat`.
    """
    return {
        "model": spec.to_json(),
        "classes": {
            "names": classes.names,
            "palette": classes.palette,
            "label_ids": classes.label_ids,
        },
        "settings": dict(settings),
    }


@final
@dataclass(frozen=True)
class SavedNetworks:
    """Networks of a checkpoint, in evaluation mode on the CPU.

    Attributes:
        path: The checkpoint's folder.
        step: Steps that they were trained for.
        networks: Name (``student``, ``teacher``) -> network.
        classes: Their classes.
        settings: Flat settings of the run, for example ``data.root``.
        problems: Why newer checkpoints of the run were passed over; empty as a rule.
    """

    path: Path
    step: int
    networks: dict[str, SegmentationModel]
    classes: ClassSet
    settings: Mapping[str, Any]
    problems: tuple[str, ...] = ()

    @property
    def run_name(self) -> str:
        """Name of the run's folder; the checkpoint's own where it lies elsewhere."""
        path = self.path.absolute()
        return path.parent.parent.name if path.parent.name == "checkpoints" else path.name

    def say_problems(self, console: Console) -> None:
        """Print which newer checkpoints were passed over, if any were."""
        for problem in self.problems:
            text = f"passed over: {printable(problem)}"
            console.print(text, style="yellow", markup=False, soft_wrap=True)


def load_networks(path: Path, which: str) -> SavedNetworks:
    """Load networks from a run, or from one of its checkpoints.

    Args:
        path: A run's folder (its latest intact checkpoint is taken) or a checkpoint's folder.
        which: ``student``, ``teacher``, ``both`` or ``either``; ``both`` takes what there is,
            ``either`` the teacher, or the student where a checkpoint has no teacher.

    Raises:
        CheckpointError: There is no checkpoint, it is damaged, or it lacks the network.
    """
    checkpoint, problems = _open(path, which)
    try:
        spec = ModelSpec.from_json(checkpoint.state["model"])
        classes = ClassSet(
            tuple(checkpoint.state["classes"]["names"]),
            tuple((r, g, b) for r, g, b in checkpoint.state["classes"]["palette"]),
            tuple(checkpoint.state["classes"]["label_ids"]),
        )
        settings, step = checkpoint.state["settings"], int(checkpoint.state["step"])
        networks = {name: build_model(spec) for name in checkpoint.tensors}
        for name, network in networks.items():
            network.load_state_dict(checkpoint.tensors[name])
            network.eval()
    except (KeyError, TypeError, ValueError, RuntimeError, MixsegError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: is not a checkpoint of mixseg that this version can read: {error}"
        ) from error
    return SavedNetworks(checkpoint.path, step, networks, classes, settings, tuple(problems))


def load_settings(path: Path) -> Mapping[str, Any]:
    """Flat settings of a run, or of one of its checkpoints; no network is read.

    Args:
        path: As in :func:`load_networks`.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
    """
    checkpoint, _ = _open(path, None)
    settings = checkpoint.state.get("settings")
    if not isinstance(settings, dict):
        raise CheckpointError(f"{checkpoint.path}: has no settings; it is no checkpoint of mixseg")
    return settings


def newest_checkpoint(path: Path) -> Path:
    """The folder of the checkpoint that :func:`load_networks` takes for a run or checkpoint.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
    """
    return _open(path, None)[0].path


def load_spec(path: Path) -> ModelSpec:
    """What the networks of a run are made of; none is read.

    Args:
        path: As in :func:`load_networks`.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
    """
    checkpoint, _ = _open(path, None)
    try:
        return ModelSpec.from_json(checkpoint.state["model"])
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: is not a checkpoint of mixseg that this version can read: {error}"
        ) from error


def _open(path: Path, which: str | None) -> tuple[Checkpoint, list[str]]:
    """The latest intact checkpoint, and the reasons why newer ones were passed over."""
    if not path.is_dir():
        raise CheckpointError(
            f"{path}: is not a folder. Give a run (runs/NAME) or one of its checkpoints "
            "(runs/NAME/checkpoints/step-00000400)"
        )
    if (path / MANIFEST).is_file():
        return _read(path, which), []
    problems: list[str] = []
    for candidate in CheckpointStore(path / "checkpoints").candidates():
        try:
            return _read(candidate, which), problems
        except CheckpointError as error:
            problems.append(str(error))
    reason = "; ".join(problems) or "it has no checkpoints"
    raise CheckpointError(f"{path}: no checkpoint can be read: {reason}")


def _read(path: Path, which: str | None) -> Checkpoint:
    """A checkpoint with the networks that `which` names; with None its state alone."""
    if which is None:
        wanted: tuple[str, ...] = ()
    elif which == "both":
        there = listed_tensors(path)
        wanted = tuple(name for name in ("student", "teacher") if name in there)
    elif which == "either":
        wanted = ("teacher",) if "teacher" in listed_tensors(path) else ("student",)
    else:
        wanted = (which,)
    return read_checkpoint(path, only=wanted)
