"""Opens the data sets and runs that a figure is drawn from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from mixseg.analysis.figures.figure import (
    FigureKind,
    Given,
    ShownCheckpoint,
    ShownDataset,
    ShownRun,
    chosen,
)
from mixseg.analysis.pseudo_labels import aligning, images_with_truth
from mixseg.config.resolve import resolve_settings
from mixseg.errors import ConfigError, DataError, unknown_name
from mixseg.evaluation.pictures import distinct_titles
from mixseg.evaluation.prediction import Predictor
from mixseg.files import read_json_lines
from mixseg.registry import LAYOUTS
from mixseg.training.checkpoint import TEACHER, CheckpointStore
from mixseg.training.data import RunData, settings_on
from mixseg.training.precision import choose_device, choose_precision
from mixseg.training.saved_network import (
    SavedNetworks,
    load_networks,
    load_settings,
    newest_checkpoint,
    settings_of_run,
)

LOG = logging.getLogger("mixseg")

DEMO = {"demo": "camera", "demo-render": "render"}
"""Built-in scenes, which need no folder -> how they look."""


def open_datasets(
    names: Sequence[str],
    roots: Sequence[str],
    split: str,
    flags: tuple[str, str] = ("--dataset", "--data-root"),
) -> list[ShownDataset]:
    """The splits of data sets.

    Args:
        names: Layouts; ``demo`` and ``demo-render`` are built-in scenes.
        roots: Folders of those that are not built in, in the same order.
        split: Name of the split.
        flags: The flags that gave names and roots, for errors.

    Raises:
        ConfigError: A name is unknown, or there are more or fewer folders than data sets.
        DataError: A split is not there.
    """
    for name in names:
        if name not in DEMO and name not in LAYOUTS:
            known = (*DEMO, *LAYOUTS)
            raise ConfigError(f"{flags[0]}: {unknown_name('dataset', name, known)}")
    stored = [name for name in names if name not in DEMO]
    if len(stored) != len(roots):
        raise ConfigError(
            f"{flags[1]}: {len(roots)} folders for {len(stored)} data sets "
            f"({', '.join(stored) or 'built-in scenes need none'}); give one for each, in order"
        )
    folders = iter(roots)
    opened = []
    for number, name in enumerate(names, start=1):
        if name in DEMO:
            given = {"demo.look": DEMO[name]}
        else:
            given = {"data.dataset": name, "data.root": next(folders)}
        title = f"{name} {number}" if names.count(name) > 1 else name
        opened.append(ShownDataset(title, RunData(resolve_settings([], given)).split(split)))
    return opened


def open_logs(paths: Sequence[Path]) -> list[ShownRun]:
    """Runs with what they logged.

    Raises:
        DataError: A folder is no run, or has no log.
    """
    logs, last = [], []
    for path in paths:
        for file in ("config.yaml", "metrics.jsonl"):
            if not (path / file).is_file():
                raise DataError(f"{path}: has no {file}; give the folder of a run, as runs/NAME")
        lines = read_json_lines(path / "metrics.jsonl")
        if not lines:
            raise DataError(f"{path / 'metrics.jsonl'}: holds no line of numbers")
        logs.append(lines)
        last.append((path.resolve().name, max(int(line.get("step") or 0) for line in lines)))
    return [
        ShownRun(title, path, settings_of_run(path), lines)
        for title, path, lines in zip(distinct_titles(last), paths, logs, strict=True)
    ]


def open_networks(
    paths: Sequence[Path], network: str | None, device: str
) -> tuple[list[ShownRun], SavedNetworks]:
    """Runs with their networks, and what the first checkpoint says of its data.

    Args:
        paths: Folders of runs, or of checkpoints.
        network: ``student``, ``teacher`` or ``average``; None takes teacher or average.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        CheckpointError: One cannot be read.
    """
    where = choose_device(device)
    saved = [load_networks(path, network or "either") for path in paths]
    titles = distinct_titles([(one.run_name, one.step) for one in saved])
    runs = []
    for path, one, title in zip(paths, saved, titles, strict=True):
        for problem in one.problems:
            LOG.warning(f"passed over: {problem}")
        (taken,) = one.networks.values()
        model = taken.to(where).to(memory_format=torch.channels_last)
        size = one.settings.get("data.resize")
        predictor = Predictor(
            model,
            one.classes,
            None if size is None else (size[0], size[1]),
            device=where,
            autocast=choose_precision("auto", where, model).autocast,
        )
        settings = resolve_settings([], one.settings)
        runs.append(ShownRun(title, path, settings, predictor=predictor))
    return runs, saved[0]


def open_checkpoints(
    path: Path, network: str | None, device: str
) -> list[Callable[[], ShownCheckpoint]]:
    """Functions that open the checkpoints of a run, or the one that is named, the first first.

    Raises:
        CheckpointError: There is none; later, one cannot be read.
    """
    found = CheckpointStore(path / "checkpoints").candidates()[::-1] or [newest_checkpoint(path)]

    def opened(checkpoint: Path) -> ShownCheckpoint:
        (run,), saved = open_networks([checkpoint], network, device)
        factors = aligning(checkpoint) if TEACHER in saved.networks else None
        return ShownCheckpoint(saved.step, run.predict, factors)

    return [partial(opened, checkpoint) for checkpoint in found]


def open_given(
    kind: FigureKind,
    *,
    runs: Sequence[Path],
    names: Sequence[str],
    roots: Sequence[str],
    split: str | None,
    device: str,
    advance: Callable[[int, int], None],
    network: str | None = None,
    images: int | None = None,
    ids: Sequence[str] = (),
    seed: int = 0,
) -> Given:
    """The data and runs that a figure needs, and no others.

    Args are the flags of ``mixseg figures``; ``advance`` is called with the number of parts done
    and of all.
    """
    opened: Sequence[ShownRun] = ()
    checkpoints: Sequence[Callable[[], ShownCheckpoint]] = ()
    datasets: Sequence[ShownDataset] = ()
    if kind.reads == "log":
        opened = open_logs(runs)
    elif kind.reads == "network" and runs:
        opened, saved = open_networks(runs, network, device)
        settings = settings_on(saved.settings, next(iter(names), None), next(iter(roots), None))
        dataset, _ = RunData(settings).judged(split, saved.run)
        datasets = [ShownDataset(settings.data.dataset, dataset)]
    elif kind.reads == "checkpoints":
        checkpoints = open_checkpoints(runs[0], network, device)
        flat = load_settings(runs[0])
        settings = settings_on(flat, next(iter(names), None), next(iter(roots), None))
        of_run = newest_checkpoint(runs[0]).parents[1]
        data = RunData(settings)
        elsewhere = names or split is not None
        found = data.judged(split, of_run) if elsewhere else images_with_truth(data, of_run)
        datasets = [ShownDataset(found[1], found[0])]
        opened = [ShownRun(of_run.resolve().name, runs[0], resolve_settings([], flat))]
        images = images or min(kind.images, len(found[0]))
    elif kind.datasets and kind.reads != "network":
        datasets = open_datasets(names or ["demo"], roots, split or "train")
    shown: Sequence[int] = ()
    if kind.images and datasets:
        shown = chosen(datasets[0].dataset, images or kind.images, seed, ids)
    return Given(datasets, opened, shown, seed, advance, checkpoints)
