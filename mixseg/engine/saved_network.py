"""Networks out of checkpoints: everything that evaluation and prediction need is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from rich.console import Console

from mixseg.config import Settings, resolve_settings, to_flat
from mixseg.data.contract import ClassSet
from mixseg.data.record import check_digests
from mixseg.engine.checkpoint import (
    MANIFEST,
    Checkpoint,
    CheckpointStore,
    listed_tensors,
    read_checkpoint,
)
from mixseg.errors import CheckpointError, MixsegError
from mixseg.files import read_json_lines
from mixseg.models import ModelSpec, SegmentationModel, build_model, load_checked
from mixseg.terminal import say

CLEARLY_BETTER = 2.0
"""Points of mIoU above which it is said that a run's other network is better."""


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
        data: What the run rests on in its data: digests of a :data:`mixseg.data.record.Record`.
    """

    path: Path
    step: int
    networks: dict[str, SegmentationModel]
    classes: ClassSet
    settings: Mapping[str, Any]
    problems: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        """The run's folder; the checkpoint's own where it lies elsewhere."""
        path = self.path.absolute()
        return path.parent.parent if path.parent.name == "checkpoints" else path

    @property
    def run_name(self) -> str:
        """Name of that folder."""
        return self.run.name

    def describe(self) -> str:
        """What was taken, and its scores in the run's last validation, for people."""
        step, scores = self._validation()
        shown = [
            f"{name} (mIoU {scores[name]:.2f})" if name in scores else name
            for name in self.networks
        ]
        where = f" in the run's validation at step {step}" if scores else ""
        return f"{self.run_name}, step {self.step}: {', '.join(shown)}{where}"

    def better_one(self) -> tuple[str, str] | None:
        """A network of the run that was clearly better than the one that was taken.

        Returns:
            Its name, and a sentence for people; None where there is none in the checkpoint, where
            all networks were taken, or where the run's log does not tell.
        """
        step, scores = self._validation()
        if len(self.networks) != 1 or not scores.keys() >= self.networks.keys():
            return None
        (taken,) = self.networks
        best = max(scores, key=scores.__getitem__)
        there = (self.path / f"{best}.safetensors").is_file()
        if not there or scores[best] <= scores[taken] + CLEARLY_BETTER:
            return None
        return best, (
            f"at step {step} the {best} was better than the {taken} in the run's own validation: "
            f"mIoU {scores[best]:.2f}, not {scores[taken]:.2f}"
        )

    def _validation(self) -> tuple[int, dict[str, float]]:
        """Step and scores in percent of the run's last validation until this checkpoint."""
        try:
            lines = read_json_lines(self.run / "metrics.jsonl")
        except OSError:  # a checkpoint may have been copied without the log
            lines = []
        for line in reversed(lines):
            scores = {
                key.removeprefix("miou/"): 100.0 * value
                for key, value in line.items()
                if key.startswith("miou/") and isinstance(value, int | float)
            }
            step = line.get("step")
            if scores and isinstance(step, int) and step <= self.step:
                return step, scores
        return 0, {}

    def say(self, console: Console, choose: str) -> None:
        """Print what was taken, whether the other network was better, and what was passed over.

        Args:
            console: Where people read.
            choose: What they type before the name of the network that they want.
        """
        for problem in self.problems:
            say(console, f"passed over: {problem}", "yellow")
        say(console, self.describe())
        if (better := self.better_one()) is not None:
            say(console, f"note: {better[1]}. {choose} {better[0]} takes it", "yellow")


def load_networks(path: Path, which: str) -> SavedNetworks:
    """Load networks from a run, or from one of its checkpoints.

    Args:
        path: A run's folder (its latest intact checkpoint is taken) or a checkpoint's folder.
        which: ``student``, ``teacher``, ``both`` or ``either``; ``both`` takes what there is,
            ``either`` the teacher, or the student where a checkpoint has no teacher.

    Raises:
        CheckpointError: There is no checkpoint, it is damaged, it lacks the network, or a number of
            the network is not finite.
    """
    checkpoint, problems = _open(path, which)
    with _readable(checkpoint):
        spec = ModelSpec.from_json(checkpoint.state["model"])
        classes = ClassSet(
            tuple(checkpoint.state["classes"]["names"]),
            tuple((r, g, b) for r, g, b in checkpoint.state["classes"]["palette"]),
            tuple(checkpoint.state["classes"]["label_ids"]),
        )
        settings, step = _settings(checkpoint), int(checkpoint.state["step"])
        if spec.num_classes != len(classes):
            raise ValueError(f"{len(classes)} classes, but {spec.num_classes} channels")
        data = recorded_data(checkpoint.state)
        networks = {name: build_model(spec) for name in checkpoint.tensors}
        for name, network in networks.items():
            file = checkpoint.path / f"{name}.safetensors"
            load_checked(network, checkpoint.tensors[name], file)
            network.eval()
    return SavedNetworks(checkpoint.path, step, networks, classes, settings, tuple(problems), data)


def load_settings(path: Path) -> Mapping[str, Any]:
    """Flat settings of a run, or of one of its checkpoints; no network is read.

    Args:
        path: As in :func:`load_networks`.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
    """
    checkpoint, _ = _open(path, None)
    with _readable(checkpoint):
        return _settings(checkpoint)


def load_state(path: Path) -> dict[str, Any]:
    """Metadata of the latest checkpoint of a run: settings, model, classes, data; no tensors.

    Args:
        path: As in :func:`load_networks`.

    Raises:
        CheckpointError: There is no checkpoint, it is damaged, or no checkpoint of a run.
    """
    checkpoint, _ = _open(path, None)
    with _readable(checkpoint):
        ModelSpec.from_json(checkpoint.state["model"])
        return checkpoint.state | {
            "settings": _settings(checkpoint),
            "data": recorded_data(checkpoint.state),
            "records": dict(checkpoint.state.get("records", {})),
        }


def settings_of_run(path: Path) -> Settings:
    """The settings of a run: those of its latest checkpoint, else of its ``config.yaml``.

    Raises:
        ConfigError: There is neither, or the file is damaged.
    """
    try:
        return resolve_settings([], load_settings(path))
    except CheckpointError:
        return resolve_settings([path / "config.yaml"], {})


def recorded_data(state: Mapping[str, Any]) -> dict[str, Any]:
    """The record of the data in the metadata of a checkpoint; of an older one its classes.

    Raises:
        ValueError: It is no record; or a kind of :data:`UNREADABLE` where it has no classes.
    """
    data: dict[str, Any] = state.get("data", {"classes": list(state["classes"]["names"])})
    check_digests(data)
    return data


UNREADABLE = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    OverflowError,
    RuntimeError,
    MixsegError,
)
"""What comes of metadata that somebody else has written, or another version."""


@contextmanager
def _readable(checkpoint: Checkpoint) -> Iterator[None]:
    """Say of what checkpoint it is that its metadata cannot be read."""
    try:
        yield
    except CheckpointError:
        raise
    except UNREADABLE as error:
        raise CheckpointError(
            f"{checkpoint.path}: is not a checkpoint of mixseg that this version can read: {error}"
        ) from error


def _settings(checkpoint: Checkpoint) -> dict[str, Any]:
    """Flat settings, as this version knows them; empty for a teacher that mixseg did not train."""
    settings = checkpoint.state["settings"]
    return to_flat(resolve_settings([], settings)) if settings else {}


def newest_checkpoint(path: Path) -> Path:
    """The folder of the checkpoint that :func:`load_networks` takes for a run or checkpoint.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
    """
    return _open(path, None)[0].path


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
