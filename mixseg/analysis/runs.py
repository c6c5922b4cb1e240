"""Runs side by side: the settings in which they differ, and what came out."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from rich.table import Table

from mixseg.config.schema import to_flat
from mixseg.errors import DataError, MixsegError
from mixseg.files import read_json, read_json_lines
from mixseg.models import ModelSpec, build_model
from mixseg.tables import MISSING, csv_lines, markdown_table, terminal_table
from mixseg.terminal import csv_cell
from mixseg.training.checkpoint import CheckpointStore, network_name, read_checkpoint
from mixseg.training.precision import precision_in
from mixseg.training.saved_network import settings_of_run

ALWAYS_DIFFERENT = ("name", "output")
"""Settings in which all runs differ; the heading has the name."""


@final
@dataclass(frozen=True)
class Validated:
    """A validation of a network after a step.

    The mIoU is in percent, None where no class could be judged; ``covered`` is such as ``17 of 19
    classes``, where the mean is over fewer than all.
    """

    step: int
    miou: float | None
    covered: str = ""

    def text(self, *, with_step: bool) -> str:
        """The score for a table."""
        if self.miou is None:
            return MISSING
        text = f"{self.miou:.2f} at {self.step}" if with_step else f"{self.miou:.2f}"
        return f"{text} ({self.covered})" if self.covered else text

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        covered = {"covered": self.covered} if self.covered else {}
        return {"step": self.step, "miou": self.miou} | covered


@final
@dataclass(frozen=True)
class RunRecord:
    """What a run's folder says.

    Attributes:
        path: The folder.
        settings: Setting path -> value.
        finished: Whether it was trained to its end.
        step: Steps that were trained; of an unfinished run, those that it logged.
        last: Network -> its last validation.
        best: Network -> its best validation.
        seconds: Median time of a step; None before the first was logged.
        precision: In which it is trained; None where ``auto`` has not been decided.
        parameters: Number of weights of the student; None without a readable checkpoint.
    """

    path: Path
    settings: Mapping[str, Any]
    finished: bool
    step: int
    last: Mapping[str, Validated]
    best: Mapping[str, Validated]
    seconds: float | None
    precision: str | None
    parameters: int | None

    def setting(self, key: str, missing: str = "") -> str:
        """A setting as it is written; ``missing`` for an option of a part the run does not have."""
        return setting_text(self.settings[key]) if key in self.settings else missing


def runs_of(path: Path) -> list[Path]:
    """A run, or the runs of a folder such as an ablation's, by name."""
    inside = [] if (path / "config.yaml").is_file() else sorted(path.glob("*/config.yaml"))
    # What begins with a dot is a run that is just being begun.
    return [one.parent for one in inside if not one.parent.name.startswith(".")] or [path]


def read_run(path: Path) -> RunRecord:
    """Read a run's folder; nothing in it is changed, so that the run may still go on.

    Raises:
        DataError: It is not a run, or a file in it is damaged; the message says what to give.
        CheckpointError: Its ``precision.json`` is damaged, and it has not ended.
    """
    if not (path / "config.yaml").is_file():
        found = "has no config.yaml" if path.is_dir() else "is no folder"
        raise DataError(
            f"{path} {found}; give the folder of a run, such as runs/NAME, or a folder of runs"
        )
    try:
        settings = to_flat(settings_of_run(path))
    except MixsegError as error:
        raise DataError(
            f"{path}: its settings cannot be read: {error}; was it made by another version?"
        ) from error
    metrics = path / "metrics.jsonl"
    lines = read_json_lines(metrics) if metrics.is_file() else []
    logged = [line for line in lines if isinstance(line.get("step"), int)]
    times = [line["seconds"] for line in logged if "seconds" in line]
    seconds = statistics.median(times) if times else None
    parameters = _parameters(path)
    summary, method = path / "summary.json", settings["method"]
    if not summary.is_file():
        step = max((line["step"] for line in logged), default=0)
        last, best = _validations(logged, method)
        precision = precision_in(path, settings["training.precision"])
        return RunRecord(path, settings, False, step, last, best, seconds, precision, parameters)
    try:
        content = read_json(summary)
        step = content["step"]
        last = {
            network_name(name, method): _validated(step, one)
            for name, one in content["last"].items()
        }
        best = {
            network_name(name, method): _validated(one["step"], one)
            for name, one in content["best"].items()
        }
        seconds = float(content["seconds_per_step"]) or seconds
        trained_in = str(content["precision"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{summary}: is damaged; remove it and go on with --resume {path}, which evaluates the "
            "last step again"
        ) from error
    return RunRecord(path, settings, True, step, last, best, seconds, trained_in, parameters)


def _validated(step: int, scores: Mapping[str, Any]) -> Validated:
    miou, iou = scores["miou"], scores.get("iou", ())
    counted = sum(one is not None for one in iou)
    covered = f"{counted} of {len(iou)} classes" if counted < len(iou) else ""
    return Validated(step, None if miou is None else 100 * float(miou), covered)


def _validations(
    logged: Sequence[Mapping[str, Any]], method: str
) -> tuple[dict[str, Validated], dict[str, Validated]]:
    """The last and the best validation of each network."""
    last: dict[str, Validated] = {}
    best: dict[str, Validated] = {}
    for line in logged:
        for key, value in line.items():
            saved = key.removeprefix("miou/")
            if saved == key:
                continue
            name, counted = network_name(saved, method), line.get(f"miou_classes/{saved}")
            covered = "" if counted is None else f"{counted:g} classes alone"
            last[name] = Validated(line["step"], None if value is None else 100 * value, covered)
            highest = best.get(name)
            if highest is None or (last[name].miou or 0.0) > (highest.miou or 0.0):
                best[name] = last[name]
    return last, best


def _parameters(path: Path) -> int | None:
    """Weights of the network that a checkpoint describes, counted without reading any."""
    for candidate in CheckpointStore(path / "checkpoints").candidates():
        try:
            spec = ModelSpec.from_json(read_checkpoint(candidate, only=()).state["model"])
            with torch.device("meta"):
                return sum(one.numel() for one in build_model(spec).parameters())
        except (MixsegError, KeyError, TypeError):  # tells nothing; the run is compared without it
            continue
    return None


@final
@dataclass(frozen=True)
class Comparison:
    """Runs and the settings in which they differ.

    Attributes:
        runs: At least one.
        titles: What each run is called.
        differing: Setting paths.
    """

    runs: tuple[RunRecord, ...]
    titles: tuple[str, ...]
    differing: tuple[str, ...]

    @classmethod
    def of(cls, runs: Sequence[RunRecord]) -> Comparison:
        """Find the settings in which runs differ; an option that only one run has is none."""
        names = [run.path.absolute().name for run in runs]
        # Names that several runs share do not tell them apart, and folders differ.
        titles = [
            name if names.count(name) == 1 else str(run.path)
            for name, run in zip(names, runs, strict=True)
        ]
        differing = []
        for key in dict.fromkeys(key for run in runs for key in run.settings):
            values = [run.settings[key] for run in runs if key in run.settings]
            if key not in ALWAYS_DIFFERENT and any(value != values[0] for value in values):
                differing.append(key)
        return cls(tuple(runs), tuple(titles), tuple(differing))

    @property
    def networks(self) -> list[str]:
        """Names of the networks of all runs."""
        return list(dict.fromkeys(name for run in self.runs for name in run.last))

    def facts(self, run: RunRecord) -> dict[str, str]:
        """A run's cells in the table: heading -> text."""
        cells = {key: run.setting(key, MISSING) for key in self.differing}
        total = run.settings["training.iterations"]
        cells["state"] = "finished" if run.finished else f"unfinished, step {run.step} of {total}"
        nothing = Validated(0, None)
        for name in self.networks:
            last, best = run.last.get(name, nothing), run.best.get(name, nothing)
            cells[f"{name} mIoU, last"] = last.text(with_step=not run.finished)
            cells[f"{name} mIoU, best"] = best.text(with_step=True)
        cells["steps"] = str(run.step)
        cells["s per step"] = MISSING if run.seconds is None else f"{run.seconds:.3g}"
        cells["precision"] = run.precision or MISSING
        millions = (run.parameters or 0) / 1e6
        cells["parameters"] = MISSING if run.parameters is None else f"{millions:.2f} M"
        return cells

    def _grid(self) -> list[list[str]]:
        """The table with its headings; the rows are runs or facts, whichever are more."""
        columns = [self.facts(run) for run in self.runs]
        rows = [["", *self.titles]]
        rows += [[key, *(one[key] for one in columns)] for key in columns[0]]
        if len(self.runs) <= len(columns[0]):
            return rows
        return [list(row) for row in zip(*rows, strict=True)]

    def terminal_table(self) -> Table:
        """The table for the terminal."""
        head, *rows = self._grid()
        counts = f"{len(self.runs)} runs, {len(self.differing)} settings differ"
        units = "mIoU in percent, the best one chosen on the validation split itself"
        return terminal_table(head, rows, notes=[f"{counts}; {units}"], fold=True)

    def to_markdown(self) -> str:
        """The table in Markdown."""
        return markdown_table(self._grid())

    def to_json(self) -> str:
        """An object for each run; mIoU in percent."""
        content = [
            {
                "run": str(run.path),
                "finished": run.finished,
                "settings": {key: run.settings.get(key) for key in self.differing},
                "step": run.step,
                "steps": run.settings["training.iterations"],
                "last": {name: one.to_json() for name, one in run.last.items()},
                "best": {name: one.to_json() for name, one in run.best.items()},
                "seconds_per_step": run.seconds,
                "precision": run.precision,
                "parameters": run.parameters,
            }
            for run in self.runs
        ]
        return json.dumps(content, indent=1)

    def to_csv(self) -> str:
        """A line for each run, with plain numbers; what is not known is empty."""
        kinds = [(which, what) for which in ("last", "best") for what in ("miou", "step")]
        scores = [f"{name}_{which}_{what}" for name in self.networks for which, what in kinds]
        columns = ("finished", "step", "seconds_per_step", "precision", "parameters")
        lines: list[list[object]] = [["run", *self.differing, *scores, *columns]]
        for run in self.runs:
            lines.append(
                [
                    csv_cell(str(run.path)),
                    *(csv_cell(run.setting(key)) for key in self.differing),
                    *(
                        getattr(getattr(run, which).get(name), what, None)
                        for name in self.networks
                        for which, what in kinds
                    ),
                    *(setting_text(run.finished), run.step, run.seconds),
                    *(csv_cell(run.precision or ""), run.parameters),
                ]
            )
        return csv_lines(lines)


def setting_text(value: Any) -> str:
    """A value as it is written in YAML."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(setting_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {setting_text(one)}' for key, one in value.items())}}}"
    return str(value)
