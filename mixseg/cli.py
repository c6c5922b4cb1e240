"""The commands. ``mixseg NAME`` and ``python tools/...`` run the same functions."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import re
import shlex
import sys
from argparse import SUPPRESS, ArgumentError
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse import ArgumentParser, Namespace
from rich.console import Console
from rich.table import Table

from mixseg import __version__
from mixseg.ablation import (
    FILES,
    ClusterLauncher,
    Launcher,
    LocalLauncher,
    SlurmCluster,
    SlurmSettings,
    choose_rows,
    collect,
    describe,
    load_grid,
    plan,
    terminal_tables,
    write_report,
)
from mixseg.ablation.runs import TRAINING_COMMANDS
from mixseg.analysis.dataset_statistics import FORMATS as STATISTICS_FORMATS
from mixseg.analysis.dataset_statistics import DatasetStatistics, summary
from mixseg.analysis.dataset_statistics import terminal_table as statistics_table
from mixseg.analysis.learning_rates import FEWEST
from mixseg.analysis.model_profile import profile_run, profile_tables
from mixseg.analysis.run_comparison import (
    FORMATS,
    compare_runs,
    comparison_table,
    read_run,
    runs_of,
    write_comparison,
)
from mixseg.benchmark.parts import PARTS, check_parts
from mixseg.benchmark.report import conditions as workload_conditions
from mixseg.benchmark.report import describe as describe_workload
from mixseg.benchmark.report import part_tables
from mixseg.benchmark.workload import workload
from mixseg.classification.experiment import ClassificationSettings, run_experiment
from mixseg.commands.prepare_data import prepare_data
from mixseg.config import (
    DemoSettings,
    Settings,
    add_settings_arguments,
    fields_of,
    resolve_section,
    resolve_settings,
    to_flat,
    typed_overrides,
)
from mixseg.data.demo import LAYOUTS, Look, write_demo
from mixseg.data.statistics import image_statistics, label_statistics
from mixseg.distillation.report import report_distillation
from mixseg.distillation.settings import data_of_teacher, student_of_name
from mixseg.distributed import by_first, joined, started_by_torchrun, summed, world
from mixseg.engine.precision import choose_device, choose_precision
from mixseg.engine.progress import progress_bar
from mixseg.engine.saved_network import SavedNetworks, load_networks
from mixseg.engine.trainer import Outcome
from mixseg.errors import CheckpointError, ConfigError, DataError, MixsegError, unknown_name
from mixseg.escaping import printable
from mixseg.evaluation.confusion import Scores
from mixseg.evaluation.evaluator import evaluate
from mixseg.evaluation.inference import InferenceMode
from mixseg.evaluation.out_of_domain import common_classes
from mixseg.evaluation.prediction import (
    Predictor,
    collect_images,
    predict_files,
    save_prediction,
)
from mixseg.evaluation.protocols import mean_over, paper_table, protocol
from mixseg.evaluation.side_by_side import SHEET_ROWS, SideBySide, distinct_titles
from mixseg.evaluation.tables import scores_table
from mixseg.files import check_unused, write_atomically
from mixseg.preflight.data_check import inspect_data, report_lines
from mixseg.preflight.data_check import to_json as data_report
from mixseg.preflight.doctor import Finding, compare_needs, examine
from mixseg.preflight.memory import estimate_needs
from mixseg.strict_yaml import load_yaml
from mixseg.training import probe_rates, resume, start
from mixseg.training_data import (
    check_data_settings,
    check_dataset_name,
    open_split,
    settings_on,
)
from mixseg.training_streams import loader_workers

EXIT_ERROR = 1
EXIT_USAGE = 2

Command = Callable[[Sequence[str]], int]


def presets_folder() -> Path:
    """The shipped ``configs``: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parent
    for folder in (package.parent / "configs", package / "configs"):
        if (folder / "demo" / "ssl.yaml").is_file():
            return folder
    raise ConfigError("the shipped configs are missing; install mixseg again")


# Training --------------------------------------------------------------------------------------

_FEW_LABELS = (
    "Train a segmentation network from few labelled and many unlabelled images, or from labelled "
    "renderings and unlabelled photographs. Without data it trains on built-in demo scenes."
)
DESCRIPTIONS = {
    "semi_supervised": _FEW_LABELS,
    "supervised": _FEW_LABELS,
    "domain_adaptation": _FEW_LABELS,
    "distillation": "Train a small segmentation network on labels and on the answers of a trained "
    "one: --teacher RUN --student NAME. Data and labelled part are those of the teacher's run, "
    "unless a --config has a section data, demo or source_domain.",
}
"""Method -> what its command says of itself."""


def train_ssl(arguments: Sequence[str]) -> int:
    """Semi-supervised training; see ``--help``."""
    return _train(arguments, "mixseg ssl", "semi_supervised")


def train_supervised(arguments: Sequence[str]) -> int:
    """Supervised training on the labelled part, with the same presets and flags."""
    return _train(arguments, "mixseg supervised", "supervised")


def train_uda(arguments: Sequence[str]) -> int:
    """Domain adaptation from labelled renderings to unlabelled photographs; see ``--help``."""
    return _train(arguments, "mixseg uda", "domain_adaptation")


def distill(arguments: Sequence[str]) -> int:
    """Train a small network on labels and on the answers of a trained one; see ``--help``."""
    return _train(arguments, "mixseg distill", "distillation")


def _train(arguments: Sequence[str], program: str, method: str) -> int:
    parser = _parser(program, DESCRIPTIONS[method])
    _add_file_arguments(parser)
    parser.add_argument(
        "--resume",
        type=str,
        metavar="auto|RUN",
        help="go on with a run; auto takes the one of this --name, and starts it if there is none",
    )
    parser.add_argument(
        "--allow-changes",
        dest="allow_changes",
        action="store_true",
        help="with --resume: accept settings that differ from the run's",
    )
    if method == "domain_adaptation":
        parser.add_argument(
            "--source-only",
            dest="source_only",
            action="store_true",
            help="train on the source alone: the baseline under the same budget",
        )
    if method == "distillation":
        parser.add_argument(
            "--student",
            type=str,
            metavar="NAME",
            help="a whole network such as enet, or a timm backbone",
        )
    add_settings_arguments(parser)
    parsed = _parse(parser, _joined(arguments, ("--config", "--set")))
    if method == "domain_adaptation" and parsed.source_only:
        method = "supervised"
    overrides = typed_overrides(parsed, parsed.assignments)
    with joined() as processes:
        console = _console()
        outcome, path = _trained(parsed, overrides, program, method, console)
    return _report(outcome, path, console) if processes.rank == 0 else outcome.exit_code


def _trained(
    parsed: Namespace, overrides: dict[str, Any], program: str, method: str, console: Console
) -> tuple[Outcome, Path]:
    """Start or go on with the run that was asked for."""
    if parsed.resume not in (None, "auto"):
        if parsed.config:
            raise ConfigError("--resume RUN uses the run's own config.yaml; leave --config out")
        if method == "supervised":  # the other tool goes on with any run
            overrides = {"method": method} | overrides
        if method == "distillation" and parsed.student is not None:
            raise ConfigError("--resume RUN has a student already; leave --student out")
        path = Path(parsed.resume)
        return resume(path, overrides, console, allow_changes=parsed.allow_changes)
    # Presets say semi_supervised; what the tool stands for goes before them, but not before a flag.
    implied: dict[str, Any] = {"method": method}
    if method == "distillation":
        files, of_teacher = _distillation_files(parsed, overrides)
        implied |= of_teacher
    else:
        files = _files(parsed, overrides, "uda" if program == "mixseg uda" else "ssl")
    settings = resolve_settings(files, implied | overrides)
    if settings.two_domains and "data.labeled" in overrides:
        raise ConfigError(
            "--labeled says what part of the target is labelled, of which nothing is used; for a "
            "part of the source: --set source_domain.labeled=1/8"
        )
    _refuse_idle(overrides, settings)
    if parsed.resume == "auto":
        if settings.name is None:
            raise ConfigError("--resume auto needs --name, to know which run to go on with")
        path = Path(settings.output).expanduser() / settings.name
        if path.exists():
            asked_for = to_flat(settings)
            return resume(path, asked_for, console, allow_changes=parsed.allow_changes)
    return start(settings, console)


def _add_file_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=str, default=[], nargs="+", metavar="FILE", help="YAML file(s)"
    )
    parser.add_argument(
        "--set",
        dest="assignments",
        type=str,
        default=[],
        nargs="+",
        metavar="PATH=VALUE",
        help="any setting, for example model.backbone=resnet50",
    )


def _files(parsed: Namespace, overrides: dict[str, Any], kind: str) -> list[Path]:
    """The configuration files: those given, or the preset of the data set."""
    if parsed.config:
        return [Path(name) for name in parsed.config]
    dataset = str(overrides.get("data.dataset", "demo"))
    if dataset == "demo" and "data.root" in overrides:
        raise ConfigError(
            "--data-root needs --config FILE or --dataset NAME, to know how the folder is laid out"
        )
    name = dataset
    if "source_domain.dataset" in overrides:
        check_dataset_name(str(overrides["source_domain.dataset"]), "source_domain.dataset")
    if kind == "uda" and dataset != "demo":
        name = f"{overrides.get('source_domain.dataset', 'gta5')}_{dataset}"
    preset = presets_folder() / (
        f"demo/{kind}.yaml" if dataset == "demo" else f"{kind}/{name}.yaml"
    )
    if not preset.is_file():
        check_dataset_name(dataset, "data.dataset")
        raise ConfigError(f"there is no preset {kind}/{name}; give one with --config FILE")
    return [preset]


def _refuse_idle(overrides: dict[str, Any], settings: Settings) -> None:
    """Refuse flags of a part that the run does not have: whoever types them means it to be there.

    Files may hold them, so that one file serves runs with and without.
    """
    parts = {
        "adversarial.": (
            settings.regularizer != "none",
            "--regularizer adversarial-temperature",
        ),
        "distillation.": (settings.method == "distillation", "tools/distill.py"),
    }
    for prefix, (used, needed) in parts.items():
        idle = [key for key in overrides if key.startswith(prefix)]
        if idle and not used:
            raise ConfigError(f"--{idle[0]} does nothing without {needed}")


def _distillation_files(
    parsed: Namespace, overrides: dict[str, Any]
) -> tuple[list[Path], dict[str, Any]]:
    """The configuration files, and settings that follow from teacher and student.

    Where no file says anything of the data, they are those of the teacher's run.
    """
    student = {} if parsed.student is None else student_of_name(parsed.student)
    if student and "model.backbone" in overrides:
        raise ConfigError("--student and --backbone both name the student; give one of them")
    given = [Path(name) for name in parsed.config]
    contents = [load_yaml(file).data for file in given]
    if any({"data", "demo", "source_domain"} & set(content) for content in contents):
        return given, student  # they say what the data are
    said = {
        f"distillation.{key}": value
        for content in contents
        for key, value in dict(content.get("distillation") or {}).items()
    } | overrides
    teacher = said.get("distillation.teacher")
    if teacher is None:
        raise ConfigError("--teacher is missing: a run to learn from, such as runs/NAME")
    path = Path(str(teacher)).expanduser()
    presets = presets_folder() / "distill"
    if not path.exists():
        raise CheckpointError(
            f"--teacher {teacher}: there is no such run, checkpoint or weight file"
        )
    if path.is_file():  # of torchvision, which knows the classes of VOC
        return given or [presets / "voc_fcn.yaml"], student
    data = data_of_teacher(path)
    if {"data.labeled", "distillation.unlabeled"} & set(said):
        data.pop("distillation.unlabeled", None)  # what all labels imply is not asked for
    if "data.dataset" in overrides and overrides["data.dataset"] != data["data.dataset"]:
        raise ConfigError(
            f"--dataset {overrides['data.dataset']}: the teacher was trained on "
            f"{data['data.dataset']}; for other data give --config FILE"
        )
    demo = data["data.dataset"] == "demo"
    return given or [presets / ("demo.yaml" if demo else "compress.yaml")], data | student


def _any_settings(parsed: Namespace) -> Settings:
    """The settings of a tool that takes those of any training command."""
    overrides = typed_overrides(parsed, parsed.assignments)
    kind = "uda" if "source_domain.dataset" in overrides else "ssl"
    return resolve_settings(_files(parsed, overrides, kind), overrides)


def _report(outcome: Outcome, path: Path, console: Console) -> int:
    """Say how a run ended and what to do next."""
    shown = shlex.quote(str(path))
    source, method = outcome.settings.source_domain.dataset, outcome.settings.method
    run = f"python tools/{'train_ssl' if source is None else 'train_uda'}.py"
    if not outcome.scores:
        on_source_alone = method == "supervised" and source is not None
        command = "uda" if on_source_alone else TRAINING_COMMANDS[method]
        console.print(
            f"stopped at step {outcome.step}, saved. Go on with: mixseg {command} --resume {shown}",
            markup=False,
            soft_wrap=True,
        )
        return outcome.exit_code
    called = {"teacher": "student, averaged"} if method == "distillation" else {}
    columns = {f"{called.get(name, name)}, last step": one for name, one in outcome.scores.items()}
    if source is not None:
        columns |= {f"{name}, best (chosen on val)": one for name, (_, one) in outcome.best.items()}
        write_atomically(path / "table.md", paper_table(columns, source))
    first = next(iter(columns.values()))
    console.print(scores_table(columns, means=protocol(source, first.classes)))
    if method == "distillation":
        try:
            console.print(report_distillation(outcome.settings, outcome.scores, path, console))
        except MixsegError as error:  # the run is whole without it
            console.print(f"not compared with its teacher: {error}", style="red", markup=False)
    best = ", ".join(
        f"{name} {100 * one.miou:.2f} at step {step}" for name, (step, one) in outcome.best.items()
    )
    lines = [
        f"best validation (chosen on this very split): {best}",
        f"run: {path}  ({outcome.seconds_per_step * 1000:.0f} ms per step, "
        f"peak memory {outcome.peak_memory / 2**30:.2f} GiB)",
        "next:",
        f"  python tools/evaluate.py {shown} --flip",
        f"  python tools/predict.py {shown} IMAGE_OR_FOLDER --output predictions",
    ]
    if method == "distillation":
        lines.insert(2, f"teacher and student side by side: {path / 'comparison.png'}")
    elif source is None:
        lines += [
            f"  {run} --labeled 1/8 --mixer cutmix",
            f"  {run} --config configs/ssl/cityscapes.yaml --data-root DIR",
        ]
    else:
        lines += [
            f"  {run} --source {source} --source-only",
            f"  {run} --config configs/uda/gta5_cityscapes.yaml --source-root DIR --data-root DIR",
        ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return outcome.exit_code


# Evaluation and prediction ---------------------------------------------------------------------


def _divided(command: Command) -> Command:
    """A command whose images are divided among the processes that torchrun starts."""

    @functools.wraps(command)
    def in_one_of_them(arguments: Sequence[str]) -> int:
        with joined():
            return command(arguments)

    return in_one_of_them


def _console() -> Console:
    """Where people read; of several processes the first one speaks."""
    return Console(quiet=world().rank > 0)


def _add_inference_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=str, help="a run's folder, or one of its checkpoints")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored image")
    parser.add_argument(
        "--scales", type=str, default="1", help="average over scales, for example 0.75,1,1.25"
    )
    parser.add_argument("--mode", type=Literal["whole", "slide"], default="whole")
    parser.add_argument(
        "--window", type=str, help="HEIGHTxWIDTH of the sliding window [the training crop]"
    )
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", type=Literal["auto", "fp32", "bf16", "fp16"], default="auto")


def _load(path: Path, which: str, console: Console) -> SavedNetworks:
    """The networks, with a word on damaged checkpoints that are not the ones meant."""
    saved = load_networks(path, which)
    saved.say_problems(console)
    return saved


def _inference_mode(parsed: Namespace, saved: SavedNetworks) -> InferenceMode:
    try:
        scales = tuple(float(scale) for scale in parsed.scales.split(","))
    except ValueError as error:
        raise ConfigError(
            f"--scales {parsed.scales}: expected numbers such as 0.75,1,1.25"
        ) from error
    window = None
    if parsed.mode == "slide":
        stages = saved.settings.get("stages") or ()
        crop = stages[-1]["crop"] if stages else saved.settings.get("data.crop")
        if parsed.window:
            window = _size("--window", parsed.window)
        elif crop:
            window = (crop[0], crop[1])
        else:
            raise ConfigError("--mode slide needs --window HEIGHTxWIDTH: training did not crop")
    elif parsed.window:
        raise ConfigError("--window needs --mode slide")
    return InferenceMode(slide=window, flip=parsed.flip, scales=scales)


def _size(flag: str, text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise ConfigError(f"{flag} {text}: expected HEIGHTxWIDTH, for example 512x1024")
    return int(match[1]), int(match[2])


def _input_size(saved: SavedNetworks, asked_for: str | None = None) -> tuple[int, int] | None:
    """What images are resized to for the network: as asked for, else as in its training."""
    if asked_for is not None:
        return None if asked_for == "none" else _size("--resize", asked_for)
    size = saved.settings.get("data.resize")
    return None if size is None else (size[0], size[1])


@_divided
def evaluate_checkpoint(arguments: Sequence[str]) -> int:
    """Evaluate a checkpoint; see ``--help``."""
    parser = _parser("mixseg evaluate", "Per-class IoU, mIoU and pixel accuracy of a checkpoint.")
    _add_inference_arguments(parser)
    parser.add_argument("--data-root", dest="root", type=str, help="[that of the run]")
    parser.add_argument(
        "--dataset", type=str, help="layout of the data, which may have other classes [the run's]"
    )
    parser.add_argument(
        "--class-map",
        dest="class_map",
        type=str,
        metavar="FILE",
        help="from the data's classes to the network's, or the other way [built in]",
    )
    parser.add_argument(
        "--resize",
        type=str,
        metavar="HEIGHTxWIDTH|none",
        help="size of the images for the network [data.resize of the run]",
    )
    parser.add_argument("--split", type=str, help="[the validation split of the run]")
    parser.add_argument("--network", type=Literal["student", "teacher", "both"], default="both")
    parser.add_argument(
        "--resolution",
        type=str,
        default="native",
        help="where labels are compared: native or HEIGHTxWIDTH",
    )
    parser.add_argument("--save-predictions", dest="save", type=str, metavar="DIR")
    parser.add_argument(
        "--format", type=Literal["train-ids", "label-ids", "colour"], default="train-ids"
    )
    parser.add_argument("--json", type=str, metavar="FILE", help="write the scores as JSON too")
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    parser.add_argument("--batch-size", dest="batch_size", type=int, default=1)
    parsed = _parse(parser, arguments)
    console = _console()

    if parsed.json is not None and not Path(parsed.json).absolute().parent.is_dir():
        raise ConfigError(f"--json {parsed.json}: there is no such folder")
    if parsed.dataset is not None:
        check_dataset_name(parsed.dataset, "--dataset")
    device = choose_device(parsed.device)
    saved = _load(Path(parsed.checkpoint), parsed.network, console)
    mode = _inference_mode(parsed, saved)
    input_size = _input_size(saved, parsed.resize)
    resolution: Any = "native"
    if parsed.resolution != "native":
        resolution = _size("--resolution", parsed.resolution)
    settings = settings_on(saved.settings, parsed.dataset, parsed.root)
    split = parsed.split or settings.data.val_split
    dataset = open_split(settings, split, console)
    map_file = None if parsed.class_map is None else Path(parsed.class_map).expanduser()
    common = common_classes(saved.classes, dataset, map_file)
    dataset = common.labelled(dataset)
    given = "data.resize of the run" if parsed.resize is None else "--resize"
    shown = "own size" if input_size is None else f"{input_size[0]}x{input_size[1]}"
    for line in (*common.describe(), f"images reach the network in {shown} ({given})"):
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    folder = None if parsed.save is None else _new_folder(Path(parsed.save), "--save-predictions")
    scores: dict[str, Scores] = {}
    for name, network in saved.networks.items():
        network.to(device).to(memory_format=torch.channels_last)
        precision = choose_precision(parsed.precision, device, network)

        def save(index: int, prediction: Any, name: str = name) -> None:
            if folder is not None:
                inside = folder / name if len(saved.networks) > 1 else folder
                path = inside / f"{dataset.samples[index].id}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                save_prediction(path, prediction, parsed.format, common.classes)

        scores[name] = evaluate(
            network,
            dataset,
            input_size=input_size,
            resolution=resolution,
            mode=mode,
            device=device,
            autocast=precision.autocast,
            workers=parsed.workers,
            batch_size=parsed.batch_size,
            on_image=None if folder is None else save,
            joined=common.of_predictions,
            judged=common.judged,
        )
    means = protocol(saved.settings.get("source_domain.dataset"), common.classes.names)
    title = f"{saved.path.name}, step {saved.step}, {dataset.name} {split}"
    one = next(iter(scores.values()))  # which classes are judged depends on the labels alone
    table = scores_table(
        scores, title, means, mean=common.mean_name(one), notes=common.caption(one)
    )
    console.print(table)
    if parsed.json is not None and world().rank == 0:
        content = {
            "checkpoint": str(saved.path),
            "step": saved.step,
            "dataset": str(dataset.root),
            "split": split,
            "input_size": input_size,
            "class_map": None if common.is_plain else common.to_json(),
            "judged": [
                name for name, value in zip(one.classes, one.iou, strict=True) if value is not None
            ],
            "scores": {
                name: found.to_json()
                | {mean: mean_over(found, classes) for mean, classes in means.items()}
                for name, found in scores.items()
            },
        }
        write_atomically(Path(parsed.json), json.dumps(content, indent=1))
    return 0


def _new_folder(path: Path, flag: str) -> Path:
    """An empty folder, made by the first process."""
    by_first(lambda: _made(path, flag))
    return path


def _made(path: Path, flag: str) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{flag} {path}: exists and is not empty; nothing is overwritten")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{flag} {path}: cannot be made: {error.strerror}") from error


@_divided
def predict(arguments: Sequence[str]) -> int:
    """Predict images; see ``--help``."""
    parser = _parser(
        "mixseg predict", "Ids, colours and overlays for images and folders of any size."
    )
    _add_inference_arguments(parser)
    parser.add_argument("paths", nargs="+", help="images and folders")
    parser.add_argument("--output", type=str, required=True, metavar="DIR")
    parser.add_argument("--network", type=Literal["student", "teacher"], default="teacher")
    parser.add_argument(
        "--formats", type=str, default="ids,colour,overlay", help="some of ids,colour,overlay"
    )
    parser.add_argument(
        "--compare",
        type=str,
        nargs="+",
        default=[],
        metavar="CHECKPOINT",
        help="further checkpoints, drawn side by side with the first",
    )
    parser.add_argument(
        "--rows", type=int, metavar="N", help="photographs in comparison.png, with --compare [12]"
    )
    parsed = _parse(parser, arguments)
    console = _console()
    if parsed.rows is not None and (parsed.rows < 1 or not parsed.compare):
        raise ConfigError(f"--rows {parsed.rows}: a number above 0, and only with --compare")
    if parsed.compare and world().size > 1:
        raise ConfigError("--compare draws one sheet and runs in one process, without torchrun")
    formats = set(parsed.formats.split(","))
    if not formats <= {"ids", "colour", "overlay"}:
        raise ConfigError(f"--formats {parsed.formats}: expected some of ids,colour,overlay")
    device = choose_device(parsed.device)
    paths = [Path(path) for path in parsed.paths]
    images = collect_images(paths)
    all_saved = [
        _load(Path(path), parsed.network, console) for path in (parsed.checkpoint, *parsed.compare)
    ]
    modes = [_inference_mode(parsed, saved) for saved in all_saved]
    output = _new_folder(Path(parsed.output), "--output")
    predictors = []
    for saved, mode in zip(all_saved, modes, strict=True):
        network = saved.networks[parsed.network]
        network.to(device).to(memory_format=torch.channels_last)
        precision = choose_precision(parsed.precision, device, network)
        predictors.append(
            Predictor(network, saved.classes, _input_size(saved), mode, device, precision.autocast)
        )
    first, *others = predictors
    side_by_side = None
    if others:
        titles = distinct_titles([(saved.run_name, saved.step) for saved in all_saved])
        side_by_side = SideBySide(output, titles, first, others, parsed.rows or SHEET_ROWS)
    with progress_bar(console, "predicting") as advance:
        failures = predict_files(
            first,
            paths,
            output,
            formats=sorted(formats),
            on_progress=advance,
            on_image=side_by_side,
        )
    if side_by_side is not None:
        side_by_side.write_sheet()
    for failure in failures:
        text = f"skipped {printable(failure.reason)}"
        Console().print(text, style="red", markup=False, soft_wrap=True)
    skipped = int(summed(torch.tensor(len(failures))))
    console.print(
        f"{len(images) - skipped} of {len(images)} images predicted into {output}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return EXIT_ERROR if skipped else 0


# Classifiers -----------------------------------------------------------------------------------


def distill_cifar10(arguments: Sequence[str]) -> int:
    """Distillation between classifiers; see ``--help``."""
    parser = _parser(
        "mixseg distill-cifar10",
        "Train ResNet-18, a 5-layer CNN, and the same CNN distilled from ResNet-18, and compare "
        "their accuracy: the first experiment of the report on shallow networks.",
    )
    parser.add_argument("--config", type=str, metavar="FILE", help="[configs/distill/cifar10.yaml]")
    leaves = fields_of(ClassificationSettings)
    for leaf in leaves:
        flag = f"--{leaf.path.replace('_', '-')}"
        about = f"{leaf.help} [{leaf.default}]"
        if leaf.hint is bool:
            parser.add_argument(flag, dest=leaf.path, action="store_true", help=about)
        else:
            parser.add_argument(flag, dest=leaf.path, type=leaf.hint | None, help=about)
    parsed = _parse(parser, arguments)
    console = Console()
    overrides = {
        leaf.path: parsed[leaf.path]
        for leaf in leaves
        if parsed[leaf.path] is not None and parsed[leaf.path] is not False
    }
    preset = presets_folder() / "distill" / "cifar10.yaml"
    file = preset if parsed.config is None else Path(parsed.config)
    settings = resolve_section(ClassificationSettings, file, overrides)

    def say(name: str, done: int, total: int, share: float) -> None:
        console.print(
            f"{name}, epoch {done}/{total}: accuracy {100 * share:.2f} %", highlight=False
        )

    table = Table(title="shapes" if settings.demo else "CIFAR-10")
    table.add_column("network")
    for column in ("parameters (M)", "accuracy"):
        table.add_column(column, justify="right")
    for one in run_experiment(settings, say):
        table.add_row(one.network, f"{one.parameters / 1e6:.3f}", f"{100 * one.accuracy:.2f}")
    console.print(table)
    return 0


# Learning rates --------------------------------------------------------------------------------


def find_lr(arguments: Sequence[str]) -> int:
    """Learning-rate range test; see ``--help``."""
    parser = _parser(
        "mixseg find-lr",
        "Train for a few steps while the learning rate grows, draw the loss over the rate, and "
        "suggest one. Takes the settings of a training command.",
    )
    _add_file_arguments(parser)
    parser.add_argument("--low", type=float, default=1e-6, help="first rate of the backbone")
    parser.add_argument("--high", type=float, default=1.0, help="last rate")
    parser.add_argument("--steps", type=int, default=100)
    add_settings_arguments(parser)
    parsed = _parse(parser, _joined(arguments, ("--config", "--set")))
    console = Console()
    if not 0 < parsed.low < parsed.high < math.inf:
        raise ConfigError(
            f"--low and --high must be rates, 0 < low < high; found {parsed.low}, {parsed.high}"
        )
    if parsed.steps < FEWEST:
        raise ConfigError(f"--steps must be at least {FEWEST}, found {parsed.steps}")
    settings = _any_settings(parsed)
    with progress_bar(console, "range test") as advance:
        test, folder = probe_rates(
            settings, console, parsed.low, parsed.high, parsed.steps, advance
        )
    end = "the loss ran away after it" if test.diverged else "the loss never ran away; try --high"
    lines = [
        f"suggested learning rate: {test.suggestion:.1e} (steepest {test.rates[test.steepest]:.1e},"
        f" lowest loss at {test.rates[test.lowest]:.1e}; {end})",
        f"curve: {folder / 'learning_rate.png'}, numbers: {folder / 'learning_rate.csv'}",
        f"next: --optimizer.lr {test.suggestion:.1e}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


# Costs -----------------------------------------------------------------------------------------


def profile_model(arguments: Sequence[str]) -> int:
    """Measure a network and its training step; see ``--help``."""
    parser = _parser(
        "mixseg profile",
        "Parameters and operations of a network, time and memory of its training step, on random "
        "images of the training size.",
    )
    _add_file_arguments(parser)
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="labelled images of an epoch; no data is needed then [those of the data]",
    )
    parser.add_argument("--steps", type=int, default=5, help="training steps that are measured")
    parser.add_argument("--json", type=str, metavar="FILE", help="write the numbers as JSON too")
    add_settings_arguments(parser)
    parsed = _parse(parser, _joined(arguments, ("--config", "--set")))
    console = Console()
    if parsed.json is not None and not Path(parsed.json).absolute().parent.is_dir():
        raise ConfigError(f"--json {parsed.json}: there is no such folder")
    for flag in ("images", "steps"):
        if parsed[flag] is not None and parsed[flag] < 1:
            raise ConfigError(f"--{flag} must be above 0, found {parsed[flag]}")
    settings = _any_settings(parsed)
    profile = profile_run(settings, console, images=parsed.images, steps=parsed.steps)
    for table in profile_tables(profile):
        console.print(table)
    if parsed.json is not None:
        write_atomically(Path(parsed.json), json.dumps(profile.to_json(), indent=1))
    return 0


def benchmark(arguments: Sequence[str]) -> int:
    """Measure mixseg's code beside the papers' arithmetic; see ``--help``."""
    parser = _parser(
        "mixseg benchmark",
        "Time and memory of mixseg's code beside a plain transcription of the papers' arithmetic, "
        "measured in turn in one process, on made-up data of the training size.",
    )
    parser.add_argument(
        "parts",
        type=str,
        nargs="*",
        metavar="PART",
        help=f"{', '.join(PARTS)} [all]",
    )
    _add_file_arguments(parser)
    parser.add_argument("--rounds", type=int, default=10, help="pairs that are measured")
    parser.add_argument(
        "--files",
        type=str,
        default="1024x2048",
        metavar="HEIGHTxWIDTH",
        help="loader: size of the image files",
    )
    parser.add_argument("--json", type=str, metavar="FILE", help="write the numbers as JSON too")
    add_settings_arguments(parser)
    parsed = _parse(parser, _joined(arguments, ("--config", "--set")))
    check_parts(parsed.parts)
    if parsed.rounds < 1:
        raise ConfigError(f"--rounds must be above 0, found {parsed.rounds}")
    if parsed.json is not None:
        check_unused([Path(parsed.json)], overwrite=True)
    work = workload(_any_settings(parsed), parsed.rounds, _size("--files", parsed.files))
    console = Console()
    console.print(describe_workload(work), markup=False, highlight=False, soft_wrap=True)
    reports = []
    for name in parsed.parts or PARTS:
        reports.append(PARTS[name](work, console))
        for table in part_tables(reports[-1]):
            console.print(table)
    if parsed.json is not None:
        content = workload_conditions(work) | {one.name: one.to_json() for one in reports}
        write_atomically(Path(parsed.json), json.dumps(content, indent=1))
    return 0


# Preflight -------------------------------------------------------------------------------------


def doctor(arguments: Sequence[str]) -> int:
    """Look at the machine and at what a run will need; see ``--help``."""
    parser = _parser(
        "mixseg doctor",
        "Versions, devices, precision, memory, disk and loader processes of this machine; with "
        "--config also the memory and the disk that the configured run will need, from real steps "
        "on noise. Takes the settings of a training command. The exit code is 1 if a run would "
        "fail.",
    )
    _add_file_arguments(parser)
    add_settings_arguments(parser)
    parsed = _parse(parser, _joined(arguments, ("--config", "--set")))
    console = Console()
    settings = _any_settings(parsed)
    wrong = False

    def say(finding: Finding) -> bool:
        text = printable(f"{finding.name + ':':16} {finding.text}")
        style = "red" if finding.wrong else None
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
        return finding.wrong

    for finding in examine(settings, loader_workers(settings)):
        wrong |= say(finding)
    if parsed.config:
        console.print("taking training steps on noise, this may take minutes", highlight=False)
        for finding in compare_needs(settings, estimate_needs(settings, console)):
            wrong |= say(finding)
    return EXIT_ERROR if wrong else 0


# Ablations -------------------------------------------------------------------------------------


def ablate(arguments: Sequence[str]) -> int:
    """Train the rows of a table with several seeds; see ``--help``."""
    parser = _parser(
        "mixseg ablate",
        "Train every row of a grid with several seeds, one process each, and print the table. "
        "Finished runs are kept: the same command goes on where it stopped. Setting flags, such as "
        "--data-root, hold for all rows.",
    )
    parser.add_argument("grid", type=str, help="a file of configs/ablations")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 0 to N - 1 [the grid's]")
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="runs at a time: locally they share the cores [1], a cluster decides [all]",
    )
    parser.add_argument("--base", type=str, metavar="FILE", help="preset in place of the grid's")
    parser.add_argument(
        "--rows",
        type=str,
        nargs="+",
        metavar="NAME",
        help="some of the rows, and those that they are compared with",
    )
    parser.add_argument(
        "--dry-run",
        dest="dry_run",
        action="store_true",
        help="print how each row differs, write the file of each run and print its command; train "
        "nothing",
    )
    _add_launcher_arguments(parser)
    add_settings_arguments(parser)
    parsed = _parse(parser, arguments)
    console = Console()
    path = Path(parsed.grid)
    grid = load_grid(path, None if parsed.base is None else Path(parsed.base))
    for given, value in {"--seeds": parsed.seeds, "--jobs": parsed.jobs}.items():
        if value is not None and value < 1:
            raise ConfigError(f"{given} {value}: must be above 0")
    if parsed.rows is not None:
        grid = choose_rows(grid, parsed.rows)
    common = typed_overrides(parsed, [])
    for key in ("seed", "name"):
        if key in common:
            raise ConfigError(f"--{key}: an ablation gives each run its own; see --seeds")
    folder = Path(str(common.pop("output", Path("runs") / path.stem))).expanduser()
    launcher = _launcher(parsed, folder)
    jobs = plan(grid, folder, range(parsed.seeds or grid.seeds), common)
    folder.mkdir(parents=True, exist_ok=True)

    def say(line: str) -> None:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    if parsed.dry_run:
        for job in jobs:
            job.prepare()
        for line in describe(grid, jobs, common):
            say(line)
        return 0
    try:
        errors = launcher.run(jobs, say)
    except KeyboardInterrupt:
        for line in launcher.parting():
            say(line)
        return 130
    results = collect(grid, jobs, errors)
    write_report(folder, grid, results)
    for table in terminal_tables(grid, results):
        console.print(table)
    say(f"{folder}: {', '.join(FILES)}")
    return EXIT_ERROR if errors else 0


LAUNCHERS = {
    "local": "processes of this machine",
    "slurm": "one array job, through submitit",
}
"""Name -> how the runs of an ablation are started."""


def _add_launcher_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--launcher",
        type=str,
        default="local",
        help="; ".join(f"{name}: {what}" for name, what in LAUNCHERS.items()),
    )
    parser.add_argument(
        "--no-wait",
        dest="no_wait",
        action="store_true",
        help="with --launcher slurm: submit and return; the same command without it collects",
    )
    for leaf in fields_of(SlurmSettings):
        shown = "none" if leaf.default is None else leaf.default
        parser.add_argument(
            f"--slurm.{leaf.path}",
            type=leaf.hint,
            default=SUPPRESS,
            help=f"{leaf.help} [{shown}]",
        )


def _launcher(parsed: Namespace, folder: Path) -> Launcher:
    """Who starts the runs; flags of another launcher are refused."""
    leaves = [leaf.path for leaf in fields_of(SlurmSettings)]
    given = {name: parsed[f"slurm.{name}"] for name in leaves if f"slurm.{name}" in parsed}
    if parsed.launcher not in LAUNCHERS:
        raise ConfigError(f"--launcher: {unknown_name('launcher', parsed.launcher, LAUNCHERS)}")
    if parsed.launcher == "slurm":
        cluster = SlurmCluster(SlurmSettings(**given), parsed.jobs)
        return ClusterLauncher(cluster, folder, wait=not parsed.no_wait)
    idle = [*(f"--slurm.{name}" for name in given), *(["--no-wait"] if parsed.no_wait else [])]
    if idle:
        raise ConfigError(f"{idle[0]} does nothing without --launcher slurm")
    return LocalLauncher(parsed.jobs or 1)


# Data sets and figures -------------------------------------------------------------------------


def dataset_stats(arguments: Sequence[str]) -> int:
    """Count what a data set holds; see ``--help``."""
    parser = _parser(
        "mixseg dataset-stats",
        "Pixels and images of each class, image sizes, share of void, and the files that cannot be "
        "read. Counts of labels are kept in the cache.",
    )
    parser.add_argument(
        "--config", type=str, default=[], nargs="+", metavar="FILE", help="that name a data set"
    )
    parser.add_argument("--dataset", type=str, help="layout of the data [demo]")
    parser.add_argument("--data-root", dest="root", type=str, metavar="DIR")
    parser.add_argument("--split", type=str, default="train", help="name of the split")
    parser.add_argument("--overwrite", action="store_true", help="replace the --output that exists")
    parser.add_argument(
        "--output",
        type=str,
        metavar="FILE",
        help=f"write them too: {', '.join(STATISTICS_FORMATS)}",
    )
    parsed = _parse(parser, _joined(arguments, ("--config",)))
    console = Console()
    given = {"data.dataset": parsed.dataset, "data.root": parsed.root}
    overrides = {key: value for key, value in given.items() if value is not None}
    if parsed.root is not None and parsed.dataset is None and not parsed.config:
        raise ConfigError(
            "--data-root needs --config FILE or --dataset NAME, to know how the folder is laid out"
        )
    output = None
    if parsed.output is not None:
        output = Path(parsed.output)
        if output.suffix not in STATISTICS_FORMATS:
            raise ConfigError(
                f"--output: {unknown_name('format', output.suffix, STATISTICS_FORMATS)}"
            )
        check_unused([output], overwrite=parsed.overwrite)
    settings = resolve_settings([Path(name) for name in parsed.config], overrides)
    check_data_settings(settings)
    dataset = open_split(settings, parsed.split, console)
    every = range(len(dataset))
    with progress_bar(console, "labels") as advance:
        labels = label_statistics(dataset, every, on_count=advance)
    with progress_bar(console, "images") as advance:
        images = image_statistics(dataset, every, advance)
    found = DatasetStatistics(dataset, labels, images)
    console.print(statistics_table(found))
    for line in summary(found):
        style = "red" if line.startswith("corrupt") else None
        console.print(printable(line), style=style, markup=False, highlight=False, soft_wrap=True)
    if output is not None:
        write_atomically(output, STATISTICS_FORMATS[output.suffix](found))
    return EXIT_ERROR if found.problems else 0


def check_data(arguments: Sequence[str]) -> int:
    """Read every file of a configuration's data; see ``--help``."""
    parser = _parser(
        "mixseg check-data",
        "Read every image and label of a configuration's data with several processes and list what "
        "is damaged, missing or wrong. Takes the settings of a training command. The exit code is "
        "1 if there is any problem.",
    )
    _add_file_arguments(parser)
    parser.add_argument("--json", type=str, metavar="FILE", help="write all problems as JSON too")
    parser.add_argument(
        "--show", type=int, default=10, metavar="N", help="files of each kind that are named [10]"
    )
    add_settings_arguments(parser)
    parsed = _parse(parser, _joined(arguments, ("--config", "--set")))
    console = Console()
    if parsed.show < 0:
        raise ConfigError(f"--show must not be negative, found {parsed.show}")
    if parsed.json is not None and not Path(parsed.json).absolute().parent.is_dir():
        raise ConfigError(f"--json {parsed.json}: there is no such folder")
    settings = _any_settings(parsed)
    reports = inspect_data(settings, console, loader_workers(settings))
    for line in report_lines(reports, parsed.show):
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    if parsed.json is not None:
        domains = {
            key: value
            for key, value in to_flat(settings).items()
            if key.startswith(("data.", "source_domain."))
        }
        write_atomically(Path(parsed.json), data_report(reports, domains))
    return EXIT_ERROR if any(report.problems for report in reports) else 0


def figures(arguments: Sequence[str]) -> int:
    """Draw figures; see ``--help``."""
    # Here, because matplotlib takes time to import and no other command needs it.
    from mixseg.analysis.figures import FIGURES
    from mixseg.analysis.figures.command import LIST_FLAGS, Options, draw_all

    parser = _parser(
        "mixseg figures",
        "Draw figures of data sets and runs: a PNG, an SVG where it is a chart, and the numbers as "
        "CSV beside it. Without a name, or with --list, the figures are listed.",
    )
    parser.add_argument("names", nargs="*", help="figures to draw")
    parser.add_argument("--list", action="store_true", help="list the figures")
    add = parser.add_argument
    add("--dataset", type=str, nargs="+", metavar="NAME", help="[demo, or the data of the run]")
    add("--data-root", dest="roots", type=str, nargs="+", metavar="DIR", help="one per data set")
    add("--split", type=str, help="[train; the validation split of a run]")
    add("--run", dest="runs", type=str, nargs="+", metavar="RUN", help="runs, or checkpoints")
    add("--output", type=str, default="figures", metavar="DIR", help="is made if it is not there")
    add("--overwrite", action="store_true", help="replace files that exist")
    add("--seed", type=int, help="chooses images and masks [0]")
    add("--images", type=int, metavar="N", help="how many images to show [4]")
    add("--ids", type=str, nargs="+", metavar="ID", help="images to show [chosen by the seed]")
    add("--source", type=str, help="mixing: what is pasted on the data set [demo-render]")
    add("--source-root", dest="source_root", type=str, metavar="DIR")
    add("--sigmas", type=float, nargs="+", help="cow-masks: in pixels of a 512x1024 image")
    add("--threshold", type=float, help="confidence: [that of the run]")
    add("--temperatures", type=float, nargs="+", help="temperatures: [0.5 1 2]")
    add("--logits", type=float, nargs="+", help="temperatures: of one pixel, one for each class")
    add("--pixel", type=str, metavar="ROW,COLUMN", help="temperatures: [one in doubt]")
    add("--network", type=Literal["student", "teacher"] | None, help="of runs [teacher]")
    add("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    parsed = _parse(parser, _joined(arguments, LIST_FLAGS))
    console = Console()
    if parsed.list or not parsed.names:
        for name, kind in FIGURES.items():
            console.print(f"{name:18} {kind.about}", markup=False, highlight=False, soft_wrap=True)
        return 0
    given = {key: value for key, value in vars(parsed).items() if value is not None}
    fields = {entry.name for entry in dataclasses.fields(Options)}
    options = Options(**{key: value for key, value in given.items() if key in fields})
    for path in draw_all(options, console):
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
    return 0


# Comparison ------------------------------------------------------------------------------------


def compare(arguments: Sequence[str]) -> int:
    """Show in what runs differ; see ``--help``."""
    parser = _parser(
        "mixseg compare",
        "One table of the settings in which runs differ and of what came out. Runs that have not "
        "ended are shown with their last validation.",
    )
    parser.add_argument(
        "runs",
        type=str,
        nargs="+",
        metavar="RUN",
        help="folders of runs, or folders that hold some, such as an ablation's",
    )
    parser.add_argument(
        "--output", type=str, metavar="FILE", help=f"write it as well: {', '.join(FORMATS)}"
    )
    parsed = _parse(parser, arguments)
    console = Console()
    output = None if parsed.output is None else Path(parsed.output)
    if output is not None and output.suffix not in FORMATS:
        raise ConfigError(f"--output {output}: the name must end in one of {', '.join(FORMATS)}")
    if output is not None and not output.absolute().parent.is_dir():
        raise ConfigError(f"--output {output}: there is no such folder")
    paths = [path for given in parsed.runs for path in runs_of(Path(given))]
    records, problems = [], []
    for path in {path.absolute(): path for path in paths}.values():
        try:
            records.append(read_run(path))
        except DataError as error:
            problems.append(str(error))
    if not records:
        raise DataError("; ".join(problems))
    comparison = compare_runs(records)
    console.print(comparison_table(comparison))
    for problem in problems:
        text = f"left out: {printable(problem)}"
        console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    if output is not None:
        write_comparison(output, comparison)
        console.print(printable(str(output)), markup=False, highlight=False, soft_wrap=True)
    return EXIT_ERROR if problems else 0


# Demo ------------------------------------------------------------------------------------------


def make_demo(arguments: Sequence[str]) -> int:
    """Write demo scenes; see ``--help``."""
    parser = _parser(
        "mixseg make-demo", "Write built-in street scenes in the layout of a real data set."
    )
    parser.add_argument("--out", type=str, required=True, metavar="DIR")
    parser.add_argument("--layout", type=str, default="cityscapes", help=", ".join(LAYOUTS))
    parser.add_argument(
        "--look",
        type=Literal["render", "camera"] | None,
        help="[render in the layouts of sources, gta5 and synthia; else camera]",
    )
    parser.add_argument("--images", type=int, default=240, help="training scenes")
    parser.add_argument("--val-images", dest="val_images", type=int, help="[a quarter of --images]")
    parser.add_argument("--size", type=str, default="128x256", help="HEIGHTxWIDTH in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parsed = _parse(parser, arguments)
    console = Console()
    size = _size("--size", parsed.size)
    if parsed.seed < 0:
        raise ConfigError(f"--seed {parsed.seed}: must not be negative")
    is_source = parsed.layout in LAYOUTS and "val" not in LAYOUTS[parsed.layout].splits
    look: Look = parsed.look or ("render" if is_source else "camera")
    counts = {"train": parsed.images}
    if parsed.val_images is not None:
        counts["val"] = parsed.val_images
    elif parsed.layout in LAYOUTS and "val" in LAYOUTS[parsed.layout].splits:
        counts["val"] = max(1, parsed.images // 4)
    with progress_bar(console, "drawing") as advance:
        path = write_demo(
            Path(parsed.out),
            look=look,
            counts=counts,
            size=size,
            seed=parsed.seed,
            layout=parsed.layout,
            progress=advance,
        )
    shown = shlex.quote(str(path))
    use = f"train it with --dataset {parsed.layout} --data-root {shown}"
    if is_source:
        use = f"train with it by tools/train_uda.py --source {parsed.layout} --source-root {shown}"
        if size != DemoSettings().size:
            use += " --set data.crop=[HEIGHT,WIDTH], or scenes of the target in the same --size"
    console.print(
        f"{path}: {use}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 0


# Parsing and dispatch --------------------------------------------------------------------------


def _parser(program: str, description: str) -> ArgumentParser:
    return ArgumentParser(
        prog=program, description=description, exit_on_error=False, allow_abbrev=False
    )


def _parse(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Parse, and turn what argparse says into an error that names the closest flag."""
    try:
        return parser.parse_args(list(arguments))
    except ArgumentError as error:
        text = re.sub(r"Parser key \"(.+?)\"( element \d+)?:\s*", r"--\1\2: ", error.message)
        text = " ".join(re.sub(r"<class '(\w+)'>", r"\1", text).split())
        expected = re.search(
            r"^(--\S+: ).*?Union subtypes.*?- Expected an? (\w+) .*Given value: (.*)$", text
        )
        if expected is not None:
            text = f"{expected[1]}expected {expected[2]}, found {expected[3]!r}"
        choices = re.search(r"^(\S+ ).*?Literal\[(.*?)\].* Given value: (.*)$", text)
        if choices is not None:
            text = f"{choices[1]}expected one of {choices[2]}, found {choices[3]!r}"
        unknown = re.search(r"unrecognized arguments: (--[\w.-]+)", text)
        if unknown is not None:
            flags = [flag for action in parser._actions for flag in action.option_strings]
            message = unknown_name("flag", unknown[1], flags).split(" Choices")[0]
            raise ConfigError(f"{message} --help lists all") from error
        raise ConfigError(text) from error


def _joined(arguments: Sequence[str], flags: tuple[str, ...]) -> list[str]:
    """Let a list flag be given several times: ``--set a=1 --set b=2`` is ``--set a=1 b=2``."""
    rest: list[str] = []
    collected: dict[str, list[str]] = {flag: [] for flag in flags}
    target: list[str] = rest
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if argument in collected:
            target = collected[argument]
        elif separator and name in collected:
            collected[name].append(value)
            target = rest
        elif argument.startswith("-"):
            target = rest
            rest.append(argument)
        else:
            target.append(argument)
    for flag, values in collected.items():
        if values or flag in arguments:
            rest += [flag, *values]
    return rest


COMMANDS: dict[str, Command] = {
    "ssl": train_ssl,
    "supervised": train_supervised,
    "distill": distill,
    "distill-cifar10": distill_cifar10,
    "evaluate": evaluate_checkpoint,
    "uda": train_uda,
    "predict": predict,
    "make-demo": make_demo,
    "ablate": ablate,
    "dataset-stats": dataset_stats,
    "check-data": check_data,
    "prepare-data": prepare_data,
    "doctor": doctor,
    "figures": figures,
    "compare": compare,
    "profile": profile_model,
    "benchmark": benchmark,
    "find-lr": find_lr,
}
"""Name -> command. Add an entry to add a command."""


DIVIDED = (train_ssl, train_uda, train_supervised, distill, evaluate_checkpoint, predict)
"""Commands that torchrun may start."""


def run(command: Command, arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors that are meant for people are printed without a traceback."""
    try:
        if started_by_torchrun() and command not in DIVIDED:
            raise ConfigError("this command runs in one process: start it without torchrun")
        return command(sys.argv[1:] if arguments is None else arguments)
    except MixsegError as error:
        code = EXIT_USAGE if isinstance(error, ConfigError) else EXIT_ERROR
        # The processes have parted by now, but torchrun has told each its number.
        rank = os.environ.get("RANK", "0")
        if rank == "0" or not error.everywhere:
            where = "" if rank == "0" else f"process {rank}: "
            print(f"error: {printable(where + str(error))}", file=sys.stderr)
        return code
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {printable(where)}{error.strerror or error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return 130


def main() -> int:
    """``mixseg COMMAND ...``."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--version"]:
        print(__version__)
        return 0
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: mixseg {{{','.join(COMMANDS)}}} ...\n\nmixseg COMMAND --help says more.")
        return 0 if arguments else EXIT_USAGE
    if arguments[0] not in COMMANDS:
        print(f"error: {unknown_name('command', arguments[0], COMMANDS)}", file=sys.stderr)
        return EXIT_USAGE
    return run(COMMANDS[arguments[0]], arguments[1:])
