"""From settings to a run: data, model, method, optimizer and trainer are composed here."""

from __future__ import annotations

import dataclasses
import errno
import importlib.util
import itertools
import re
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from mixseg.analysis.learning_rates import RangeTest, range_test, range_test_csv
from mixseg.analysis.plots import plots_installed
from mixseg.config import (
    ScheduleSettings,
    Settings,
    changed_settings,
    dump_settings,
    resolve_settings,
    to_flat,
    with_absolute_paths,
)
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.data.frequencies import (
    class_frequencies,
    dump_frequencies,
    frequencies_of,
    read_frequencies,
)
from mixseg.data.splits import id_lines, write_split
from mixseg.data.streams import Batch
from mixseg.distillation.teachers import (
    find_teacher,
    fixed_teacher,
    keep_teacher,
    kept_teacher,
)
from mixseg.distributed import by_first, lost_process, of_first, share_of, together, world
from mixseg.engine.epochs import epochs_in_steps, steps_per_epoch
from mixseg.engine.learner import Learner
from mixseg.engine.method import Given
from mixseg.engine.optimizers import check_optimizer_name
from mixseg.engine.precision import Precision, choose_device
from mixseg.engine.run_directory import RunDirectory
from mixseg.engine.saved_network import SavedNetworks, network_card
from mixseg.engine.schedules import build_schedule, momentum_cycle
from mixseg.engine.skipped import SkippedSamples
from mixseg.engine.stages import of_one_stage, plan_stages, staged
from mixseg.engine.teacher import FixedTeacher
from mixseg.engine.trainer import Outcome, Trainer
from mixseg.errors import ConfigError, TrainingError
from mixseg.escaping import printable
from mixseg.evaluation.confusion import Scores
from mixseg.evaluation.evaluator import Resolution, evaluate
from mixseg.files import not_written, write_atomically
from mixseg.losses import build_consistency, check_loss, needs_frequencies
from mixseg.methods import METHODS, Distillation, check_method_name, check_stage_batches
from mixseg.mixing import build_mixer, check_labeled_mixer
from mixseg.models import (
    check_model_settings,
    model_title,
)
from mixseg.randomness import derive_seed
from mixseg.regularizers import check_regularizer
from mixseg.targets import build_weighting
from mixseg.training_data import (
    TrainingData,
    check_data_settings,
    open_training_data,
    training_size,
)
from mixseg.training_learner import build_learner
from mixseg.training_precision import precision_of_run
from mixseg.training_streams import build_streams, crop_notes, loader_workers


def check_names(settings: Settings) -> None:
    """Refuse unknown names of components before any data is read."""
    check_method_name(settings)
    check_stage_batches(settings)
    check_data_settings(settings)
    check_model_settings(settings.model)
    build_mixer(settings.mixing, num_classes=1)
    check_labeled_mixer(settings.mixing)
    check_loss(settings.supervised_loss)
    build_weighting(settings.targets)
    build_consistency(settings.targets)
    build_schedule(settings.schedule, settings.training.iterations)
    check_optimizer_name(settings.optimizer)
    check_regularizer(settings)
    if settings.training.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "training.tensorboard: tensorboard is missing; pip install 'mixseg[tensorboard]'"
        )
    device = choose_device(settings.training.device)
    if settings.training.sync_batch_norm and device.type == "cpu":
        raise ConfigError("training.sync_batch_norm needs GPUs: torch has it for them alone")
    _check_shares(settings)


def _check_shares(settings: Settings) -> None:
    """Refuse batches that cannot be divided among the processes of the run."""
    if world().size == 1:
        return
    for number in range(max(1, len(settings.stages))):
        data = of_one_stage(settings, number).data
        for name in METHODS[settings.method].streams_of(settings):
            try:
                share_of(data.batch_labeled if name == "labeled" else data.batch_unlabeled)
            except ConfigError as error:
                raise ConfigError(f"data.batch_{name}: {error}") from error


def validator(
    settings: Settings, val: SegmentationDataset, precision: Precision, workers: int
) -> Any:
    """A function from a network to its scores on the validation split."""
    data = settings.data

    at_input = settings.validation.resolution == "input" and data.resize is not None
    size: Resolution = data.resize if at_input and data.resize is not None else "native"

    def validate(network: nn.Module) -> Scores:
        return evaluate(
            network,
            val,
            input_size=data.resize,
            resolution=size,
            device=precision.device,
            autocast=precision.autocast,
            workers=workers,
            batch_size=settings.validation.batch_size,
        )

    return validate


def compose_learner(
    settings: Settings,
    data: TrainingData,
    console: Console,
    teacher: FixedTeacher | None,
    recorded: Path | None = None,
    *,
    measure: bool = True,
) -> Learner:
    """What learns in a run; what its weight file gave is printed.

    ``recorded`` and ``measure`` are those of :func:`precision_of_run`.
    """
    # Nothing here draws from the global generator, which torch starts with a seed of its own in
    # every process; but the dropout of a backbone does, in each process of a run its own.
    rank = world().rank
    torch.manual_seed(derive_seed(settings.seed, "process", rank) if rank else settings.seed)
    given = given_by(data)._replace(teacher=teacher)
    last = of_one_stage(settings, -1)
    size = training_size(last, "labeled", data)
    choose = precision_of_run(last, size, console, recorded, measure=measure)
    learner, report = build_learner(settings, len(data.classes), given, choose=choose)
    if report is not None:
        console.print(report.describe(), markup=False, highlight=False)
    return learner


def build_trainer(
    settings: Settings,
    data: TrainingData,
    run: RunDirectory,
    console: Console,
    teacher: FixedTeacher | None,
    *,
    new: bool = True,
) -> Trainer:
    """Compose the parts of a run; one that is not ``new`` has chosen its precision already."""
    learner = compose_learner(settings, data, console, teacher, run.precision, measure=new)
    spec = learner.method.student.spec
    stages = plan_stages(settings, len(data.split.labeled))
    schedule = build_schedule(settings.schedule, settings.training.iterations)
    workers = loader_workers(settings)
    return Trainer(
        learner=learner,
        streams=build_streams(settings, data, stages, learner.method),
        stages=stages,
        schedule=staged(schedule, stages),
        momentum=momentum_cycle(settings.schedule, settings.training.iterations),
        validate=validator(settings, data.val, learner.precision, workers),
        run=run,
        settings=settings,
        card=network_card(spec, data.classes, to_flat(settings)),
        console=console,
        skipped=_skipped(settings, data, run, console),
    )


def _skipped(
    settings: Settings, data: TrainingData, run: RunDirectory, console: Console
) -> SkippedSamples | None:
    if not settings.data.skip_bad:
        return None
    samples = {"labeled": len(data.split.labeled), "unlabeled": len(data.unlabeled_indices)}
    share = settings.data.skip_bad_share
    return SkippedSamples(run.skipped, samples, share, console, writes=run.locked)


def given_by(data: TrainingData) -> Given:
    """What the method is given by the data."""

    def tensor(shares: NDArray[np.float64] | None) -> Tensor | None:
        return None if shares is None else torch.from_numpy(shares).float()

    return Given(wanted=tensor(data.distribution), labeled=tensor(data.frequencies))


def with_frequencies(
    settings: Settings, data: TrainingData, console: Console, recorded: Path | None = None
) -> TrainingData:
    """The data with the share of each class among its labels, where a loss asks for it.

    Args:
        settings: Of the run; shares that they give come first.
        data: Of the run.
        console: Where people read.
        recorded: Shares that an earlier process of the run counted, if there is such a file.

    Raises:
        DataError: A class is unknown or missing, or all shares are 0.
    """
    loss = settings.supervised_loss
    if not needs_frequencies(loss):
        return data
    if loss.frequencies is not None:
        where = "supervised_loss.frequencies"
        shares = frequencies_of(loss.frequencies, data.classes, where)
    elif recorded is not None and recorded.is_file():
        shares = read_frequencies(recorded, data.classes)
    else:
        indices = data.split.labeled
        console.print(f"counting the classes of {len(indices)} labels", highlight=False)
        shares = class_frequencies(data.labeled, indices, skip_bad=settings.data.skip_bad)
    return dataclasses.replace(data, frequencies=shares)


def run_name(settings: Settings) -> str:
    """Such as ``ssl-demo-classmix-1of8-seed0-20260102-030405``."""
    source = settings.source_domain.dataset
    labeled = settings.data.labeled if source is None else settings.source_domain.labeled
    fraction = re.fullmatch(r"(\d+)/(\d+)", labeled)
    labeled = f"{fraction[1]}of{fraction[2]}" if fraction else Path(labeled).name
    labeled = re.sub(r"[^A-Za-z0-9.]", "-", labeled)
    kinds = {"semi_supervised": "ssl", "domain_adaptation": "uda", "distillation": "distill"}
    kind = kinds.get(settings.method, settings.method)
    parts = [kind, *([source] if source else []), settings.data.dataset]
    if METHODS[settings.method].mixes_unlabeled:
        parts.append(settings.mixing.mixer)
    if settings.method == "distillation":
        parts.append(model_title(settings.model))
    return "-".join([*parts, labeled[:20], f"seed{settings.seed}", time.strftime("%Y%m%d-%H%M%S")])


def start(settings: Settings, console: Console) -> tuple[Outcome, Path]:
    """Check everything, make the run's folder, train.

    Returns:
        How it ended, and the folder.
    """
    expert = find_teacher(settings, console)
    check_names(settings)
    settings = with_absolute_paths(settings)
    data = open_training_data(settings, console)
    settings = epochs_in_steps(settings, len(data.split.labeled))
    data = with_frequencies(settings, data, console)
    teacher = None if expert is None else fixed_teacher(expert, data.classes)
    name = settings.name or _unused(Path(settings.output).expanduser(), run_name(settings))
    name = of_first(name)  # it has the time in it
    settings = dataclasses.replace(settings, name=name)
    path = Path(settings.output).expanduser() / name
    run = by_first(lambda: RunDirectory.create(path)) or RunDirectory(path, lock=False)
    # The settings come first: building may download weights, and who is killed meanwhile must be
    # able to resume. What cannot be built must not leave a folder that looks like a run.
    try:
        if run.locked:
            _record(run, settings, data, expert)
        trainer = build_trainer(settings, data, run, console, teacher)
    except BaseException:
        if run.locked:
            run.remove()
        raise
    with _writing(run):
        return _fit(trainer, data, run, console)


@contextmanager
def _writing(run: RunDirectory) -> Iterator[None]:
    """Says how a run goes on that the disk has stopped."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        path = run.path if error.filename is None else Path(error.filename)
        raise TrainingError(not_written(path, error)) from error


def _record(
    run: RunDirectory, settings: Settings, data: TrainingData, expert: SavedNetworks | None
) -> None:
    """Write what a run is made of into its folder."""
    write_split(run.path, data.labeled, data.split)
    write_atomically(run.unlabeled, id_lines(data.unlabeled, data.unlabeled_indices))
    if data.distribution is not None:
        shares = dump_frequencies(data.distribution, data.classes)
        write_atomically(run.alignment, shares)
    if data.frequencies is not None:
        write_atomically(run.frequencies, dump_frequencies(data.frequencies, data.classes))
    if data.class_map:
        write_atomically(run.class_map, data.class_map)
    if expert is not None:
        keep_teacher(run.path, expert)
    write_atomically(run.config, dump_settings(settings))


def probe_rates(
    settings: Settings,
    console: Console,
    low: float,
    high: float,
    steps: int,
    on_step: Callable[[int, int], None],
) -> tuple[RangeTest, Path]:
    """A learning-rate range test with the data, the network and the method of a run.

    Args:
        settings: Of a run; its length and schedule are without meaning, and of its stages the first
            one counts.
        console: Where people read.
        low: First rate of the backbone.
        high: Last rate.
        steps: From one to the other.
        on_step: Called with the number of steps begun and of all.

    Returns:
        The test, and the folder that got its numbers, and its curve where matplotlib is installed.
    """
    output = Path(settings.output).expanduser()
    name = settings.name or _unused(output, f"find-lr-{run_name(settings)}")
    folder = output / name
    if folder.exists():
        raise ConfigError(f"{folder} is already there; give another --name")
    settings = dataclasses.replace(
        of_one_stage(settings, 0),
        training=dataclasses.replace(settings.training, iterations=steps, epochs=None),
        schedule=ScheduleSettings(name="constant"),
        adversarial=dataclasses.replace(settings.adversarial, schedule="same", warmup_steps=0),
    )
    expert = find_teacher(settings, console)
    check_names(settings)
    data = open_training_data(settings, console)
    data = with_frequencies(settings, data, console)
    teacher = None if expert is None else fixed_teacher(expert, data.classes)
    learner = compose_learner(settings, data, console, teacher)
    stages = plan_stages(settings, len(data.split.labeled))
    streams = build_streams(settings, data, stages, learner.method)
    accumulate = settings.training.accumulate
    batches = {name: stream(0, steps * accumulate) for name, stream in streams.items()}

    def parts() -> Iterator[list[dict[str, Batch]]]:
        for step in range(steps):
            on_step(step, steps)
            yield [{name: next(one) for name, one in batches.items()} for _ in range(accumulate)]

    test = range_test(learner, parts(), low, high, steps)
    folder.mkdir(parents=True)
    write_atomically(folder / "learning_rate.csv", range_test_csv(test))
    if plots_installed():
        # Here, because matplotlib takes time to import and may be missing.
        from mixseg.analysis.charts import range_test_chart

        write_atomically(folder / "learning_rate.png", range_test_chart(test))
    return test, folder


def _draw_pseudo_labels(run: RunDirectory, classes: ClassSet) -> None:
    """The shares of classes in the pseudo-labels, where they were logged and can be drawn."""
    if not plots_installed():
        return
    # Here, because matplotlib takes time to import and may be missing.
    from mixseg.analysis.charts import pseudo_label_chart

    chart = pseudo_label_chart(run.metrics, classes.names, classes.palette)
    if chart is not None:
        write_atomically(run.path / "pseudo_labels.png", chart)


def _described(teacher: FixedTeacher) -> str:
    return f"{model_title(teacher.network.spec)}, {_millions(teacher.network)} parameters"


def _millions(network: nn.Module) -> str:
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M"


def _unused(folder: Path, name: str) -> str:
    """The name, or with a number after it if another run of the same second has taken it."""
    names = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
    return next(name for name in names if not (folder / name).exists())


FIXED = (
    "method",
    "model.",
    "optimizer.name",
    "regularizer",
    "distillation.network",
    "distillation.teacher",
    "source_domain.dataset",
    "targets.alignment:",
)
"""Beginnings of settings that a run keeps for good: its checkpoints depend on them."""


def resume(
    path: Path, overrides: dict[str, Any], console: Console, *, allow_changes: bool
) -> tuple[Outcome, Path]:
    """Go on with a run from its latest intact checkpoint.

    Args:
        path: Folder of the run.
        overrides: Setting path -> value that was typed.
        console: Where people read.
        allow_changes: Accept settings that differ from the saved ones.

    Raises:
        ConfigError: Settings differ and that is not allowed.
    """
    if path.is_dir() and not (path / "config.yaml").is_file():
        raise ConfigError(
            f"{path} is not a run: it has no config.yaml. A run that was killed before its first "
            "step leaves such a folder: remove it"
        )
    run = together(lambda: RunDirectory(path, lock=world().rank == 0))
    try:
        with _writing(run):
            return _resume(run, overrides, console, allow_changes=allow_changes)
    finally:
        run.close()


def _resume(
    run: RunDirectory, overrides: dict[str, Any], console: Console, *, allow_changes: bool
) -> tuple[Outcome, Path]:
    path = run.path
    saved = with_absolute_paths(resolve_settings([run.config], {}))
    settings = with_absolute_paths(resolve_settings([run.config], overrides))
    # What a run computes does not depend on how many processes read its images.
    changes = changed_settings(saved, settings, {"data.workers", "output", "name"})
    fixed = [line for line in changes if line.startswith(FIXED)]
    misfit = f"a checkpoint does not fit such a change: {'; '.join(fixed)}"
    if changes and not allow_changes:
        advice = (
            f"; {misfit}, not even with --allow-changes"
            if fixed
            else ", or add --allow-changes to go on with the new ones"
        )
        raise ConfigError(
            f"{path} was started with other settings ({'; '.join(changes)}). Resume without these "
            f"flags{advice}"
        )
    if fixed:
        raise ConfigError(f"{path}: {misfit}")
    opened = settings
    if run.alignment.is_file():
        # The run's own record: a file that was changed or moved meanwhile is of no importance.
        targets = dataclasses.replace(settings.targets, alignment=str(run.alignment))
        opened = dataclasses.replace(settings, targets=targets)
    check_names(opened)
    data = open_training_data(opened, console)
    lists = (
        f"--set source_domain.labeled={run.path / 'labeled.txt'}"
        if settings.two_domains
        else f"--labeled {run.path / 'labeled.txt'},{run.path / 'unlabeled.txt'}"
    )
    unlabeled = id_lines(data.unlabeled, data.unlabeled_indices)
    run.check_split(data.split.digest, unlabeled, lists, allow_changes=allow_changes)
    if settings.two_domains:
        run.check_class_map(data.class_map)
    settings = epochs_in_steps(settings, len(data.split.labeled))
    data = with_frequencies(settings, data, console, run.frequencies)
    distilled = settings.method == "distillation"
    teacher = kept_teacher(run.path, data.classes) if distilled else None
    trainer = build_trainer(settings, data, run, console, teacher, new=False)
    trainer.resume()
    if changes and run.locked:
        write_atomically(run.config, dump_settings(settings))
    if allow_changes and run.locked:
        write_atomically(run.unlabeled, unlabeled)
    return _fit(trainer, data, run, console)


def _unused_labels(settings: Settings, data: TrainingData) -> list[str]:
    """A note where photographs of a folder take the place of the rest of the training split."""
    unused = len(data.split.unlabeled)
    if settings.two_domains or settings.data.unlabeled is None or not unused:
        return []
    return [
        f"note: {unused} labelled images of {data.labeled.root} are not used (data.labeled "
        f"{settings.data.labeled}, and data.unlabeled names others); --labeled full takes them"
    ]


def _fit(
    trainer: Trainer, data: TrainingData, run: RunDirectory, console: Console
) -> tuple[Outcome, Path]:
    if run.locked:
        run.write_environment()
    split, settings = data.split, trainer.settings
    lines = [
        f"run {run.path}" + (f", from step {trainer.first}" if trainer.first else ""),
        f"data {data.labeled.root}: {len(split.labeled)} labelled images; split {split.digest}",
        *(
            [f"data {data.unlabeled.root}: {len(data.unlabeled_indices)} unlabelled images"]
            if "unlabeled" in trainer.streams
            else []
        ),
        f"data {data.val.root}: {len(data.val)} validation images",
        *data.notes,
        *(_unused_labels(settings, data) if "unlabeled" in trainer.streams else []),
        f"model {model_title(settings.model)}, "
        f"{_millions(trainer.method.student)} parameters; {trainer.device}, "
        f"{trainer.precision.name}, {torch.get_num_threads()} threads",
        *(
            [f"teacher {settings.distillation.teacher}: {_described(trainer.method.expert)}"]
            if isinstance(trainer.method, Distillation)
            else []
        ),
        *(
            f"regularizer {settings.regularizer}: {name} of {_millions(network)} parameters"
            for regularizer in trainer.regularizers
            for name, network in regularizer.networks.items()
        ),
    ]
    if settings.stages:
        for number, stage in enumerate(trainer.stages, start=1):
            assert stage.crop is not None
            lines.append(
                f"stage {number}: steps {stage.first} to {stage.last}, crops of "
                f"{stage.crop[0]}x{stage.crop[1]}, {stage.batches['labeled']} labelled images"
            )
    elif settings.training.epochs is not None:
        per_epoch = steps_per_epoch(settings, len(split.labeled))
        lines.append(f"{settings.training.epochs} epochs of {per_epoch} steps")
    lines += crop_notes(settings, data, trainer.stages)
    if split.note:
        lines.append(f"note: {split.note}")
    among_themselves = settings.mixing.domains == "intra" or not settings.two_domains
    if trainer.method.mixes_unlabeled and among_themselves and settings.data.batch_unlabeled == 1:
        lines.append("note: with data.batch_unlabeled 1 an image has none to be mixed with")
    smallest = min(stage.batches["labeled"] for stage in trainer.stages)
    if settings.mixing.labeled != "none" and smallest == 1:
        lines.append("note: in a batch of one labelled image it has none to be mixed with")
    for line in lines:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    try:
        outcome = trainer.fit()
        if outcome.scores and run.locked:  # not interrupted: whoever stops a run wants it to end
            _draw_pseudo_labels(run, data.classes)
        return outcome, run.path
    except RuntimeError as error:
        if lost_process(error):
            raise TrainingError(
                "another process of this run has ended, and its own message says why; go on with "
                f"--resume {shlex.quote(str(run.path))}"
            ) from error
        # torch raises this wherever the process happens to be when a loader worker has died.
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            f"{error} Out of memory? Try fewer --workers; go on with --resume "
            f"{shlex.quote(str(run.path))}"
        ) from error
    finally:
        run.close()
