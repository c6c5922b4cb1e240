"""Scores of a trained network on a split."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from numpy import uint8
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mixseg.commands.console import console_of_first
from mixseg.commands.contract import for_several_processes, prints_its_result
from mixseg.commands.inference import (
    add_inference_arguments,
    divided,
    inference_mode,
    input_size_of,
    load_saved,
    placed,
)
from mixseg.commands.output_files import check_folder, new_folder
from mixseg.commands.parsing import ArgumentParser, Namespace, height_and_width, new_parser, parse
from mixseg.config.values import FlagType, Range
from mixseg.data.contract import SegmentationDataset
from mixseg.data.record import differences, read_record, record_of_validation
from mixseg.distributed import world
from mixseg.errors import ConfigError
from mixseg.evaluation.confusion import Scores
from mixseg.evaluation.evaluator import OnImage, Resolution, evaluate
from mixseg.evaluation.inference import InferenceMode
from mixseg.evaluation.out_of_domain import CommonClasses, common_classes
from mixseg.evaluation.prediction import save_prediction
from mixseg.evaluation.protocols import Protocol, mean_over, protocol
from mixseg.evaluation.tables import scores_table
from mixseg.files import write_atomically
from mixseg.terminal import say, show
from mixseg.training.data import check_dataset_name, open_judged, settings_on, unpaired_notes
from mixseg.training.precision import choose_device
from mixseg.training.saved_network import SavedNetworks


@prints_its_result
@for_several_processes
@divided
def evaluate_checkpoint(arguments: Sequence[str]) -> int:
    """Evaluate a checkpoint; see ``--help``."""
    parsed = parse(_evaluation_parser(), arguments)
    console = console_of_first()
    check_folder("--json", parsed.json)
    subject = _opened(parsed, console)
    _say_what_is_compared(subject, parsed, console)
    folder = None if parsed.save is None else new_folder(Path(parsed.save), "--save-predictions")
    scores = _scores(subject, parsed, folder)
    show(console, _table(subject, scores))
    if parsed.json is not None and world().rank == 0:
        write_atomically(Path(parsed.json), json.dumps(_to_json(subject, scores), indent=1))
    return 0


def _evaluation_parser() -> ArgumentParser:
    parser = new_parser(
        "mixseg evaluate", "Per-class IoU, mIoU and pixel accuracy of a checkpoint."
    )
    add_inference_arguments(parser)
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
        "--split", type=str, help="[the validation split of the run, or the images it held out]"
    )
    parser.add_argument(
        "--unpaired",
        choices=("error", "skip"),
        help="what becomes of images without a label [data.unpaired of the run]",
    )
    parser.add_argument(
        "--network",
        choices=("student", "teacher", "average", "both"),
        default="both",
        help="both takes what the checkpoint has [both]",
    )
    parser.add_argument(
        "--resolution",
        type=str,
        metavar="native|input|HEIGHTxWIDTH",
        help="where labels are compared: at their own size, at that of the images for the network, "
        "or at another [validation.resolution of the run; native with --dataset]",
    )
    parser.add_argument(
        "--save-predictions",
        dest="save",
        type=str,
        metavar="DIR",
        help="new or empty folder for a PNG of each image",
    )
    parser.add_argument(
        "--format",
        choices=("train-ids", "label-ids", "colour"),
        default="train-ids",
        help="of saved predictions; label-ids are those of the data set's own files, which "
        "benchmark servers take [train-ids]",
    )
    parser.add_argument(
        "--allow-changes",
        dest="allow_changes",
        action="store_true",
        help="score on the run's data although they have changed since it was trained",
    )
    parser.add_argument("--json", type=str, metavar="FILE", help="write the scores as JSON too")
    parser.add_argument(
        "--workers",
        type=FlagType("--workers", int, Range(0, 256)),
        default=0,
        help="processes that read images [0]",
    )
    parser.add_argument(
        "--batch-size",
        dest="batch_size",
        type=FlagType("--batch-size", int, Range(1, 65_536)),
        default=1,
        help="images of a size that go through the network together [1]",
    )
    return parser


@final
@dataclass(frozen=True)
class _Subject:
    """The networks, the images, and how the ones see the others.

    Attributes:
        saved: The checkpoint.
        dataset: Its labels are in the common classes.
        split: Name of the split.
        common: The classes in which network and data are compared.
        device: Where the networks run.
        mode: How images go through them.
        input_size: Height and width of images for the networks, in pixels; None keeps their own.
        resolution: Where labels are compared.
    """

    saved: SavedNetworks
    dataset: SegmentationDataset
    split: str
    common: CommonClasses
    device: torch.device
    mode: InferenceMode
    input_size: tuple[int, int] | None
    resolution: Resolution

    @property
    def means(self) -> Protocol:
        source = self.saved.settings.get("source_domain.dataset")
        return protocol(source, self.common.classes.names)


def _opened(parsed: Namespace, console: Console) -> _Subject:
    if parsed.dataset is not None:
        check_dataset_name(parsed.dataset, "--dataset")
    device = choose_device(parsed.device)
    saved = load_saved(Path(parsed.checkpoint), parsed.network)
    mode = inference_mode(parsed, saved)
    input_size = input_size_of(saved, parsed.resize)
    of_run = "native" if parsed.dataset else saved.settings.get("validation.resolution", "native")
    resolution = _resolution(parsed.resolution, str(of_run), input_size)
    given = {} if parsed.unpaired is None else {"data.unpaired": parsed.unpaired}
    settings = settings_on(dict(saved.settings) | given, parsed.dataset, parsed.root)
    dataset, split = open_judged(settings, parsed.split, saved.run)
    own_split = None if settings.data.val is not None else settings.data.val_split
    if parsed.dataset is None and parsed.root is None and parsed.split in (None, own_split):
        _check_data(saved, dataset, console, allow_changes=parsed.allow_changes)
    elif parsed.allow_changes:
        raise ConfigError("--allow-changes does nothing: these are not the run's own data")
    map_file = None if parsed.class_map is None else Path(parsed.class_map).expanduser()
    common = common_classes(saved.classes, dataset, map_file)
    dataset = common.labelled(dataset)
    return _Subject(saved, dataset, split, common, device, mode, input_size, resolution)


def _check_data(
    saved: SavedNetworks, dataset: SegmentationDataset, console: Console, *, allow_changes: bool
) -> None:
    """Refuse data that have changed since the run, or say how they have.

    Raises:
        ConfigError: They have, and that is not allowed.
    """
    found = differences(saved.data, record_of_validation(dataset), read_record(saved.run))
    if found and not allow_changes:
        raise ConfigError(
            f"{dataset.root}: these are not the data that {saved.path} was trained on "
            f"({'; '.join(found)}). Bring them back, or score on what is there: --allow-changes"
        )
    for line in found:
        say(console, f"changed since the run: {line}", "yellow")


def _resolution(
    asked_for: str | None, of_run: str, input_size: tuple[int, int] | None
) -> Resolution:
    """Where labels are compared: as asked for, else as in the run's own validation."""
    named = asked_for or of_run
    if named == "input" and input_size is not None:
        return input_size
    if asked_for == "input":
        raise ConfigError("--resolution input: images reach the network in their own size")
    if named in ("native", "input"):
        return "native"
    try:
        return height_and_width("--resolution", named)
    except ConfigError as error:
        raise ConfigError(f"{error}, native or input") from error


def _say_what_is_compared(subject: _Subject, parsed: Namespace, console: Console) -> None:
    given = "data.resize of the run" if parsed.resize is None else "--resize"
    size = subject.input_size
    shown = "own size" if size is None else f"{size[0]}x{size[1]}"
    for line in (
        *unpaired_notes(subject.dataset),
        *subject.common.describe(),
        f"images reach the network in {shown} ({given})",
    ):
        say(console, line)


def _scores(subject: _Subject, parsed: Namespace, folder: Path | None) -> dict[str, Scores]:
    """Name of a network -> its scores; predictions are saved where there is a folder for them."""
    networks = subject.saved.networks
    scores = {}
    for name, network in networks.items():
        precision = placed(network, subject.device, parsed.precision, subject.saved)
        on_image = None
        if folder is not None:
            inside = folder / name if len(networks) > 1 else folder
            on_image = _saver(subject, inside, parsed.format)
        scores[name] = evaluate(
            network,
            subject.dataset,
            input_size=subject.input_size,
            resolution=subject.resolution,
            mode=subject.mode,
            device=subject.device,
            autocast=precision.autocast,
            workers=parsed.workers,
            batch_size=parsed.batch_size,
            on_image=on_image,
            joined=subject.common.of_predictions,
            judged=subject.common.judged,
        )
    return scores


def _saver(subject: _Subject, folder: Path, form: str) -> OnImage:
    """What writes each prediction under the id of its image."""

    def save(index: int, prediction: NDArray[uint8]) -> None:
        path = folder / f"{subject.dataset.samples[index].id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_prediction(path, prediction, form, subject.common.classes)

    return save


def _table(subject: _Subject, scores: Mapping[str, Scores]) -> Table:
    saved, common = subject.saved, subject.common
    one = _any_of(scores)
    return scores_table(
        scores,
        f"{saved.path.name}, step {saved.step}, {subject.dataset.name} {subject.split}",
        subject.means,
        mean=common.mean_name(one),
        notes=common.caption(one),
    )


def _to_json(subject: _Subject, scores: Mapping[str, Scores]) -> dict[str, Any]:
    saved, common, means = subject.saved, subject.common, subject.means
    one = _any_of(scores)
    return {
        "checkpoint": str(saved.path),
        "step": saved.step,
        "dataset": str(subject.dataset.root),
        "split": subject.split,
        "input_size": subject.input_size,
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


def _any_of(scores: Mapping[str, Scores]) -> Scores:
    """Scores of one network: which classes are judged depends on the labels alone."""
    return next(iter(scores.values()))
