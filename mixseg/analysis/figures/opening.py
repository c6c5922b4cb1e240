"""From the names that a person types to the data sets and runs of a figure."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from mixseg.analysis.figures.request import ShownDataset, ShownRun
from mixseg.analysis.metrics import Line, read_metrics
from mixseg.config import resolve_settings
from mixseg.data.registry import DATASETS
from mixseg.errors import ConfigError, DataError, unknown_name
from mixseg.evaluation.prediction import Predictor
from mixseg.evaluation.side_by_side import distinct_titles
from mixseg.training.data import open_judged, open_split, settings_on
from mixseg.training.precision import choose_device, choose_precision
from mixseg.training.saved_network import SavedNetworks, load_networks, settings_of_run

LOG = logging.getLogger("mixseg")

DEMO = {"demo": "camera", "demo-render": "render"}
"""Built-in scenes, which need no folder -> how they look."""


def open_datasets(
    names: Sequence[str],
    roots: Sequence[str],
    split: str,
    flags: tuple[str, str] = ("--dataset", "--data-root"),
) -> tuple[ShownDataset, ...]:
    """The splits of data sets.

    Args:
        names: Layouts; ``demo`` and ``demo-render`` are built-in scenes.
        roots: Folders of those that are not built in, in the same order.
        split: Name of the split.
        flags: That gave names and roots, for errors.

    Raises:
        ConfigError: A name is unknown, or there are more or fewer folders than data sets.
        DataError: A split is not there.
    """
    for name in names:
        if name not in DEMO and name not in DATASETS:
            known = (*DEMO, *DATASETS)
            raise ConfigError(f"{flags[0]}: {unknown_name('dataset', name, known)}")
    stored = [name for name in names if name not in DEMO]
    if len(stored) != len(roots):
        raise ConfigError(
            f"{flags[1]}: {len(roots)} folders for {len(stored)} data sets "
            f"({', '.join(stored) or 'built-in scenes need none'}); give one for each, in order"
        )
    folders = iter(roots)
    opened = []
    for name in names:
        given = (
            {"demo.look": DEMO[name]}
            if name in DEMO
            else {"data.dataset": name, "data.root": next(folders)}
        )
        opened.append(open_split(resolve_settings([], given), split))
    shared = Counter(names)
    titles = [
        f"{name} {number}" if shared[name] > 1 else name
        for number, name in enumerate(names, start=1)
    ]
    return tuple(map(ShownDataset, titles, opened))


def open_logs(paths: Sequence[Path]) -> tuple[ShownRun, ...]:
    """Runs with what they logged.

    Raises:
        DataError: A folder is no run, or has no log.
    """
    logs: list[list[Line]] = []
    for path in paths:
        for file in ("config.yaml", "metrics.jsonl"):
            if not (path / file).is_file():
                raise DataError(f"{path}: has no {file}; give the folder of a run, as runs/NAME")
        lines = read_metrics(path / "metrics.jsonl")
        if not lines:
            raise DataError(f"{path / 'metrics.jsonl'}: holds no line of numbers")
        logs.append(lines)
    last = [max((int(line.get("step") or 0) for line in lines), default=0) for lines in logs]
    titles = distinct_titles(
        [(path.resolve().name, step) for path, step in zip(paths, last, strict=True)]
    )
    return tuple(
        ShownRun(title, path, settings_of_run(path), lines)
        for title, path, lines in zip(titles, paths, logs, strict=True)
    )


def open_networks(
    paths: Sequence[Path], network: str | None, device: str
) -> tuple[tuple[ShownRun, ...], SavedNetworks | None]:
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
            None,
            where,
            choose_precision("auto", where, model).autocast,
        )
        settings = resolve_settings([], one.settings)
        runs.append(ShownRun(title, path, settings, predictor=predictor))
    return tuple(runs), saved[0] if saved else None


def open_data_of(
    saved: SavedNetworks, dataset: str | None, root: str | None, split: str | None
) -> ShownDataset:
    """The validation split of a run, or the data that were given instead."""
    settings = settings_on(saved.settings, dataset, root)
    shown, _ = open_judged(settings, split, saved.run)
    return ShownDataset(settings.data.dataset, shown)
