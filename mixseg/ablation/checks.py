"""What is refused before the first run of an ablation waits for its turn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mixseg.ablation.runs import OWN, Job
from mixseg.config.resolve import resolve_settings
from mixseg.config.saved import changed_settings, paths_in
from mixseg.config.schema import to_flat
from mixseg.data.record import Record, differences, digests, read_record
from mixseg.errors import ConfigError
from mixseg.training.checks import check_settings
from mixseg.training.saved_network import settings_of_run

VALIDATION = ("data.dataset", "data.root", "data.val", "data.split_seed", "demo.")
"""Prefixes of the settings that say what a run is scored on."""


def check_runs(jobs: Sequence[Job]) -> None:
    """Refuse runs that cannot work, or that cannot go on in their folders.

    Raises:
        ConfigError: Settings cannot work or name an unknown part, or the folder holds a run that
            was made with other settings, or on data that had changed in between.
    """
    for job in {job.row: job for job in jobs if not job.done}.values():
        try:
            _check_names(job)
        except ConfigError as error:
            raise ConfigError(f"row {job.row!r}: {error}") from error
    for job in jobs:
        refuse_changes(job, job.folder / "config.yaml", "was made")
    if not all(job.allow_changes for job in jobs) and (found := unlike_data(jobs)):
        raise ConfigError(
            f"{'; '.join(found)}. Their scores are those of different images or classes: give "
            "another --output, or --allow-changes, which the table then says"
        )


def _check_names(job: Job) -> None:
    """Refuse unknown names of parts; this machine may lack the device, and a dry run the data."""
    settings = job.settings
    training = dataclasses.replace(settings.training, device="auto", sync_batch_norm=False)
    data = dataclasses.replace(settings.data, root=settings.data.root or "anywhere")
    source = settings.source_domain
    if source.dataset is not None:
        source = dataclasses.replace(source, root=source.root or "anywhere")
    changed = dataclasses.replace(settings, training=training, data=data, source_domain=source)
    check_settings(changed, initial_weights=False)


def check_files(jobs: Sequence[Job]) -> None:
    """Refuse folders and weights that are missing.

    Runs that are done need no files. A checkpoint takes the place of initial weights, and a run
    keeps a copy of its teacher.
    """
    for job in jobs:
        if job.done:
            continue
        needed = paths_in(to_flat(job.settings))
        if any((job.folder / "checkpoints").glob("step-*")):
            for key in ("model.weights", "distillation.teacher"):
                needed.pop(key, None)
        for key, path in needed.items():
            if not Path(path).exists():
                raise ConfigError(
                    f"row {job.row!r}: {key}: {path}: there is no such file or folder"
                )


def unlike_data(jobs: Sequence[Job]) -> list[str]:
    """A line for each run whose validation images, classes or label ids differ from those of an
    earlier one with the same data settings: the data have changed between them."""
    first: dict[tuple[object, ...], tuple[Job, Record]] = {}
    lines = []
    for job in jobs:
        record = read_record(job.folder)
        if record is None:  # not begun, or by an earlier version
            continue
        scored = {key: record[key] for key in ("classes", "label_ids", "val")}
        flat = to_flat(job.settings)
        # The seed draws what is held out of the labeled images.
        drawn = job.seed if flat.get("data.val") is not None else None
        data = (*(str(flat[key]) for key in flat if key.startswith(VALIDATION)), drawn)
        other, known = first.setdefault(data, (job, scored))
        if found := differences(digests(known), scored, known):
            lines.append(
                f"{job.folder} and {other.folder} were trained on data that had changed in between "
                f"({'; '.join(found)})"
            )
    return lines


def refuse_changes(job: Job, config: Path, what: str) -> None:
    """Refuse to continue a run with other settings than those in ``config``, if that exists.

    ``what`` says for the message what became of the run: ``was made``, ``is in the queue``.
    """
    if not config.is_file():
        return
    # The latest checkpoint of a run has its settings: the file may have been edited.
    own = config.parent == job.folder
    found = settings_of_run(job.folder) if own else resolve_settings([config], {})
    if changes := changed_settings(to_flat(found), to_flat(job.settings), OWN):
        raise ConfigError(
            f"{job.folder} {what} with other settings ({'; '.join(changes)}); give another "
            "--output, or remove it"
        )
