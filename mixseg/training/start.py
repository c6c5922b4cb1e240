"""A new run: everything is checked, its folder made, then it trains."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from rich.console import Console

from mixseg.config import Settings, dump_settings, with_absolute_paths
from mixseg.data.splits import id_lines, write_split
from mixseg.data.statistics import dump_frequencies
from mixseg.distillation.teachers import find_teacher, fixed_teacher, keep_teacher
from mixseg.distributed import by_first, of_first
from mixseg.engine.epochs import epochs_in_steps
from mixseg.engine.run_directory import RunDirectory
from mixseg.engine.saved_network import SavedNetworks
from mixseg.engine.trainer import Outcome
from mixseg.files import write_atomically
from mixseg.training.checks import check_settings
from mixseg.training.compose import build_trainer, with_frequencies
from mixseg.training.data import TrainingData, open_training_data
from mixseg.training.fit import fit, writing
from mixseg.training.names import run_name, unused_name


def start(settings: Settings, console: Console) -> tuple[Outcome, Path]:
    """Check everything, make the run's folder, train.

    Returns:
        How it ended, and the folder.
    """
    expert = find_teacher(settings, console)
    check_settings(settings)
    settings = with_absolute_paths(settings)
    data = open_training_data(settings, console)
    settings = epochs_in_steps(settings, len(data.split.labeled))
    data = with_frequencies(settings, data, console)
    teacher = None if expert is None else fixed_teacher(expert, data.classes)
    name = settings.name or unused_name(Path(settings.output).expanduser(), run_name(settings))
    name = of_first(name)  # it has the time in it
    settings = dataclasses.replace(settings, name=name)
    path = Path(settings.output).expanduser() / name

    def begun() -> RunDirectory:
        run = RunDirectory.create(path)
        try:
            _record(run, settings, data, expert)
            run.publish()
        except BaseException:
            run.remove()
            raise
        return run

    run = by_first(begun) or RunDirectory(path, lock=False)
    # The settings come first: building may download weights, and who is killed meanwhile must be
    # able to resume. What cannot be built must not leave a folder that looks like a run.
    try:
        trainer = build_trainer(settings, data, run, console, teacher)
    except BaseException:
        if run.locked:
            run.remove()
        raise
    with writing(run):
        return fit(trainer, data, run, console)


def _record(
    run: RunDirectory, settings: Settings, data: TrainingData, expert: SavedNetworks | None
) -> None:
    """Write what a run is made of into its folder."""
    write_split(run.path, data.labeled, data.split, (*data.labeled.unpaired, *data.val.unpaired))
    write_atomically(run.unlabeled, id_lines(data.unlabeled, data.unlabeled_indices))
    if settings.data.val is not None:
        write_atomically(run.held_out, id_lines(data.val, range(len(data.val))))
    if data.distribution is not None:
        shares = dump_frequencies(data.distribution, data.classes)
        write_atomically(run.alignment, shares)
    if data.frequencies is not None:
        write_atomically(run.frequencies, dump_frequencies(data.frequencies, data.classes))
    if data.class_map:
        write_atomically(run.class_map, data.class_map)
    write_atomically(run.data_record, json.dumps(data.record, indent=0))
    if expert is not None:
        keep_teacher(run.path, expert)
    write_atomically(run.config, dump_settings(settings))
