"""Networks out of checkpoints: everything that evaluation and prediction need is in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from mixseg.config import Settings, to_flat
from mixseg.data.contract import ClassSet
from mixseg.engine.checkpoint import MANIFEST, Checkpoint, CheckpointStore, read_checkpoint
from mixseg.errors import CheckpointError, MixsegError
from mixseg.models import ModelSpec, SegmentationModel, build_model


def network_card(spec: ModelSpec, classes: ClassSet, settings: Settings) -> dict[str, Any]:
    """What a checkpoint says of its networks; JSON."""
    return {
        "model": spec.to_json(),
        "classes": {
            "names": classes.names,
            "palette": classes.palette,
            "label_ids": classes.label_ids,
        },
        "settings": to_flat(settings),
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


def load_networks(path: Path, which: str) -> SavedNetworks:
    """Load networks from a run, or from one of its checkpoints.

    Args:
        path: A run's folder (its latest intact checkpoint is taken) or a checkpoint's folder.
        which: ``student``, ``teacher`` or ``both``; ``both`` takes what there is.

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


def _open(path: Path, which: str) -> tuple[Checkpoint, list[str]]:
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


def _read(path: Path, which: str) -> Checkpoint:
    if which != "both":
        return read_checkpoint(path, only=(which,))
    present = tuple(
        name for name in ("student", "teacher") if (path / f"{name}.safetensors").is_file()
    )
    return read_checkpoint(path, only=present)
