"""Networks from checkpoints: a checkpoint holds everything that evaluation and prediction need."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import nn

from mixseg.config.checks import WITHOUT_FILE
from mixseg.config.resolve import resolve_settings
from mixseg.config.schema import to_flat
from mixseg.config.sections import ModelSettings, Settings
from mixseg.config.values import NETWORKS, Size
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.data.record import check_digests, differences, read_record, record_of_validation
from mixseg.distributed import by_first, of_first
from mixseg.errors import CheckpointError, ConfigError, MixsegError
from mixseg.files import read_json_lines
from mixseg.models import ModelSpec, SegmentationModel, build_model, load_checked
from mixseg.models.wrapped import wrap
from mixseg.plugins import UntrustedError, import_recorded
from mixseg.training.checkpoint import (
    AVERAGE,
    MANIFEST,
    TEACHER,
    Checkpoint,
    CheckpointStore,
    listed_tensors,
    network_name,
    read_checkpoint,
)
from mixseg.training.precision import Precision, choose_precision, precision_to_apply

LOG = logging.getLogger("mixseg")


CLEARLY_BETTER = 2.0
"""Points of mIoU above which a message says that a run's other network is better."""


def network_card(spec: ModelSpec, classes: ClassSet, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint records about its networks, as JSON; settings are flat."""
    return {
        "model": spec.to_json(),
        "classes": {name: getattr(classes, name) for name in ("names", "palette", "label_ids")},
        "settings": dict(settings),
    }


@final
@dataclass(frozen=True)
class SavedNetworks:
    """Networks of a checkpoint, in evaluation mode on the CPU.

    Attributes:
        path: The checkpoint's folder.
        step: Steps that they were trained for.
        networks: Name (``student``, and ``teacher`` or ``average``) -> network.
        classes: Their classes.
        settings: Flat settings of the run.
        problems: Why newer checkpoints of the run were passed over.
        data: Digests of the run's :data:`mixseg.data.record.Record`.
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

    @property
    def crop(self) -> Size | None:
        """Height and width to which training cropped last; None if it did not."""
        stages = self.settings.get("stages") or ()
        crop = stages[-1]["crop"] if stages else self.settings.get("data.crop")
        return (crop[0], crop[1]) if crop else None

    def describe(self) -> str:
        """One line: what was taken, and its scores in the run's last validation."""
        step, scores = self._validation()
        shown = [
            f"{name} (mIoU {scores[name]:.2f})" if name in scores else name
            for name in self.networks
        ]
        where = f" in the run's validation at step {step}" if scores else ""
        return f"{self.run_name}, step {self.step}: {', '.join(shown)}{where}"

    def better_one(self) -> tuple[str, str] | None:
        """Name of the run's other network, and a sentence, if it was clearly better than this one.

        None where it is not in the checkpoint, or the run's log does not tell.
        """
        step, scores = self._validation()
        if len(self.networks) != 1 or not scores.keys() >= self.networks.keys():
            return None
        (taken,) = self.networks
        best = max(scores, key=scores.__getitem__)
        names = (best, TEACHER) if best == AVERAGE else (best,)
        there = any((self.path / f"{name}.safetensors").is_file() for name in names)
        if not there or scores[best] <= scores[taken] + CLEARLY_BETTER:
            return None
        return best, (
            f"at step {step} the {best} was better than the {taken} in the run's own validation: "
            f"mIoU {scores[best]:.2f}, not {scores[taken]:.2f}"
        )

    def report(self, choose: str) -> None:
        """Log what was taken and passed over, and whether the network that the flag ``choose``
        would take was better.
        """
        for problem in self.problems:
            LOG.warning(f"passed over: {problem}")
        LOG.info(self.describe())
        if (better := self.better_one()) is not None:
            LOG.warning(f"note: {better[1]}. {choose} {better[0]} takes it")

    def place(
        self,
        name: str,
        device: torch.device,
        precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    ) -> Precision:
        """Move a network to a device, channels last.

        Args:
            name: Name of the network.
            device: The device.
            precision: ``auto`` takes that of the run, where the hardware has it.

        Returns:
            The precision that it runs in there.
        """
        network = self.networks[name].to(device).to(memory_format=torch.channels_last)
        if precision == "auto":
            asked = self.settings["training.precision"]
            return precision_to_apply(self.run, asked, device, network)
        return choose_precision(precision, device, network)

    def check_data(self, dataset: SegmentationDataset, *, allow_changes: bool) -> None:
        """Refuse a validation split that has changed since the run, or log how it has.

        Raises:
            ConfigError: It has, and that is not allowed.
        """
        found = differences(self.data, record_of_validation(dataset), read_record(self.run))
        if found and not allow_changes:
            raise ConfigError(
                f"{dataset.root}: these are not the data that {self.path} was trained on "
                f"({'; '.join(found)}). Bring them back, or score on what is there: --allow-changes"
            )
        for line in found:
            LOG.warning(f"changed since the run: {line}")

    def _validation(self) -> tuple[int, dict[str, float]]:
        try:
            lines = read_json_lines(self.run / "metrics.jsonl")
        except OSError:  # a checkpoint may have been copied without the log
            lines = []
        method = self.settings.get("method")
        for line in reversed(lines):
            scores = {
                network_name(key.removeprefix("miou/"), method): 100.0 * value
                for key, value in line.items()
                if key.startswith("miou/") and isinstance(value, int | float)
            }
            step = line.get("step")
            if scores and isinstance(step, int) and step <= self.step:
                return step, scores
        return 0, {}


def load_networks(path: Path, which: str, module: nn.Module | None = None) -> SavedNetworks:
    """Load networks from a run's latest intact checkpoint, or from a checkpoint's folder.

    Args:
        path: The folder.
        which: ``student``, ``teacher``, ``average``, ``both`` (what there is), or ``either`` (the
            teacher or average, or the student where there is none). ``teacher`` is understood for
            an average, which earlier versions called so.
        module: The module that the run was given from Python.

    Raises:
        CheckpointError: There is no checkpoint, it is damaged, it lacks the network, or a number of
            the network is not finite.
    """
    checkpoint, problems = _open(path, which)
    with _readable(checkpoint) as state:
        spec = ModelSpec.from_json(state["model"])
        classes = ClassSet(
            tuple(state["classes"]["names"]),
            tuple((r, g, b) for r, g, b in state["classes"]["palette"]),
            tuple(state["classes"]["label_ids"]),
        )
        settings, step = _settings(state), int(state["step"])
        if spec.num_classes != len(classes):
            raise ValueError(f"{len(classes)} classes, but {spec.num_classes} channels")
        data = _recorded_data(state)
        networks: dict[str, SegmentationModel] = {}
        for saved, tensors in checkpoint.tensors.items():
            if module is None:
                network = build_model(spec)
            else:
                network = wrap(copy.deepcopy(module), spec.num_classes, spec.mean, spec.std)
            load_checked(network, tensors, checkpoint.path / f"{saved}.safetensors")
            networks[network_name(saved, settings.get("method"))] = network.eval()
    if which == AVERAGE and TEACHER in networks:
        raise CheckpointError(f"{checkpoint.path} holds no {which!r}; its average is the teacher")
    if which == TEACHER and AVERAGE in networks:
        LOG.warning("note: the average of a student that no teacher labels for is called average")
    return SavedNetworks(checkpoint.path, step, networks, classes, settings, tuple(problems), data)


def load_settings(path: Path) -> Mapping[str, Any]:
    """Flat settings of a run, or of one of its checkpoints."""
    with _readable(_open(path, None)[0]) as state:
        return _settings(state)


def load_state(path: Path) -> dict[str, Any]:
    """Metadata of the latest checkpoint of a run: settings, model, classes, data, records."""
    with _readable(_open(path, None)[0]) as state:
        ModelSpec.from_json(state["model"])
        records = dict(state.get("records", {}))
        data = _recorded_data(state)
        return state | {"settings": _settings(state), "data": data, "records": records}


def settings_of_run(path: Path) -> Settings:
    """The settings of a run: those of its latest checkpoint, else of its ``config.yaml``."""
    try:
        return resolve_settings([], load_settings(path))
    except CheckpointError:
        return resolve_settings([path / "config.yaml"], {})


def newest_checkpoint(path: Path) -> Path:
    """The folder of the checkpoint that :func:`load_networks` takes for a run or checkpoint."""
    return _open(path, None)[0].path


@contextmanager
def _readable(checkpoint: Checkpoint) -> Iterator[dict[str, Any]]:
    try:
        settings = checkpoint.state.get("settings") or {}
        import_recorded(settings.get("imports"), str(checkpoint.path))
        yield checkpoint.state
    except (CheckpointError, UntrustedError):
        raise
    except (
        *(LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError),
        MixsegError,
    ) as error:  # metadata that somebody else has written, or another version
        raise CheckpointError(
            f"{checkpoint.path}: is not a checkpoint of mixseg that this version can read: {error}"
        ) from error


def _recorded_data(state: Mapping[str, Any]) -> dict[str, Any]:
    # Older checkpoints have the classes alone.
    data: dict[str, Any] = state.get("data", {"classes": list(state["classes"]["names"])})
    check_digests(data)
    return data


def _settings(state: Mapping[str, Any]) -> dict[str, Any]:
    """Flat settings, as this version knows them; empty for a teacher that mixseg did not train."""
    settings = state["settings"]
    return to_flat(resolve_settings([], settings)) if settings else {}


def _open(path: Path, which: str | None) -> tuple[Checkpoint, list[str]]:
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


def _read(path: Path, which: str | None) -> Checkpoint:  # with None its state alone
    if which is None:
        return read_checkpoint(path, only=())
    there = listed_tensors(path)
    averaged = tuple(name for name in (TEACHER, AVERAGE) if name in there)
    wanted: tuple[str, ...] = (which,)
    if which == "both":
        wanted = tuple(name for name in ("student", *averaged) if name in there)
    elif which in ("either", TEACHER, AVERAGE) and averaged:
        wanted = averaged
    elif which == "either":
        wanted = ("student",)
    return read_checkpoint(path, only=wanted)


# Initial weights ----------------------------------------------------------------------------------


def network_of_run(settings: ModelSettings) -> SavedNetworks | None:
    """The network that ``model.weights`` names, if it is one of mixseg's; None for anything else.

    A folder is a run or one of its checkpoints, of which the teacher or average is taken where
    there is one; a file that lies in a checkpoint is the network of its name.
    """
    found = _named(settings)
    if found is None:
        return None
    path, which = found
    # Of a run that is still going on, all processes take the same checkpoint.
    same = of_first(by_first(lambda: str(newest_checkpoint(path))) or "")
    return load_networks(Path(same), which)


def check_network_of_run(settings: ModelSettings) -> None:
    """Raise the errors of :func:`network_of_run` without reading a network."""
    found = _named(settings)
    if found is None:
        return
    path, which = found
    there = listed_tensors(newest_checkpoint(path))
    if which != "either" and (which not in NETWORKS or which not in there):
        raise CheckpointError(
            f"model.weights: {settings.weights}: is no network of its checkpoint; give one of "
            f"{', '.join(name for name in NETWORKS if name in there)}, or the folder"
        )


def _named(settings: ModelSettings) -> tuple[Path, str] | None:
    if settings.weights in WITHOUT_FILE:
        return None
    path = Path(settings.weights).expanduser()
    if path.is_dir():
        found = path, "either"
    elif path.suffix == ".safetensors" and (path.parent / MANIFEST).is_file():
        found = path.parent, path.stem
    else:
        return None
    if settings.weights_sha256 is not None:
        raise ConfigError(
            f"model.weights_sha256: {path} is of a checkpoint, which lists the hashes of its files "
            "and is checked against them; leave it out, or say --model.weights_sha256 null"
        )
    return found
