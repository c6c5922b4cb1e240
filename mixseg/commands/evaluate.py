"""Scores of a trained network on a split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from mixseg.commands.console import console_of_first
from mixseg.commands.contract import for_several_processes, prints_its_result
from mixseg.commands.inference import (
    add_inference_arguments,
    divided,
    inference_mode,
    input_size_of,
    load_saved,
    new_folder,
    placed,
)
from mixseg.commands.parsing import (
    ArgumentParser,
    adder,
    check_folder,
    height_and_width,
    new_parser,
    parse,
)
from mixseg.config.values import Range
from mixseg.data.arrays import LabelArray, Size
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.data.record import differences, read_record, record_of_validation
from mixseg.distributed import world
from mixseg.errors import ConfigError
from mixseg.evaluation.evaluator import OnImage, Resolution, evaluate
from mixseg.evaluation.out_of_domain import common_classes
from mixseg.evaluation.prediction import ENCODINGS, write_picture
from mixseg.evaluation.protocols import mean_over, protocol, scores_table
from mixseg.files import write_atomically
from mixseg.terminal import say, show
from mixseg.training.data import RunData, check_dataset_name, settings_on, unpaired_notes
from mixseg.training.precision import choose_device
from mixseg.training.saved_network import SavedNetworks


@prints_its_result
@for_several_processes
@divided
def evaluate_checkpoint(arguments: Sequence[str]) -> int:
    """Evaluate a checkpoint; see ``--help``."""
    parsed = parse(_parser(), arguments)
    console = console_of_first()
    check_folder("--json", parsed.json)
    if parsed.dataset is not None:
        check_dataset_name(parsed.dataset, "--dataset")
    device = choose_device(parsed.device)

    # The networks, and how images go through them.
    saved = load_saved(Path(parsed.checkpoint), parsed.network)
    mode = inference_mode(parsed, saved)
    input_size = input_size_of(saved, parsed.resize)
    of_run = "native" if parsed.dataset else saved.settings.get("validation.resolution", "native")
    resolution = _resolution(parsed.resolution, str(of_run), input_size)

    # The data, and the classes in which both are compared.
    given = {} if parsed.unpaired is None else {"data.unpaired": parsed.unpaired}
    settings = settings_on(dict(saved.settings) | given, parsed.dataset, parsed.root)
    dataset, split = RunData(settings).judged(parsed.split, saved.run)
    own_split = None if settings.data.val is not None else settings.data.val_split
    if parsed.dataset is None and parsed.root is None and parsed.split in (None, own_split):
        _check_data(saved, dataset, console, allow_changes=parsed.allow_changes)
    elif parsed.allow_changes:
        raise ConfigError("--allow-changes does nothing: these are not the run's own data")
    map_file = None if parsed.class_map is None else Path(parsed.class_map).expanduser()
    common = common_classes(saved.classes, dataset, map_file)
    dataset = common.labeled(dataset)
    shown = "own size" if input_size is None else f"{input_size[0]}x{input_size[1]}"
    size_from = "data.resize of the run" if parsed.resize is None else "--resize"
    for line in (
        *unpaired_notes(dataset),
        *common.describe(),
        f"images reach the network in {shown} ({size_from})",
    ):
        say(console, line)

    folder = None if parsed.save is None else new_folder(Path(parsed.save), "--save-predictions")
    scores = {}
    for name, network in saved.networks.items():
        precision = placed(network, device, parsed.precision, saved)
        on_image = None
        if folder is not None:
            inside = folder / name if len(saved.networks) > 1 else folder
            on_image = _saver(inside, dataset, parsed.format, common.classes)
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
            on_image=on_image,
            joined=common.of_predictions,
            judged=common.judged,
        )

    # Which classes are judged depends on the labels alone: any network's scores tell.
    one = next(iter(scores.values()))
    means = protocol(saved.settings.get("source_domain.dataset"), common.classes.names)
    title = f"{saved.path.name}, step {saved.step}, {dataset.name} {split}"
    notes = common.caption(one)
    show(console, scores_table(scores, title, means, mean=common.mean_name(one), notes=notes))
    if parsed.json is not None and world().rank == 0:
        content = {
            "checkpoint": str(saved.path),
            "step": saved.step,
            "dataset": str(dataset.root),
            "split": split,
            "input_size": input_size,
            "class_map": None if common.is_plain else common.to_json(),
            "judged": [name for name, value in one.by_class.items() if value is not None],
            "scores": {
                name: found.to_json()
                | {mean: mean_over(found, classes) for mean, classes in means.items()}
                for name, found in scores.items()
            },
        }
        write_atomically(Path(parsed.json), json.dumps(content, indent=1))
    return 0


def _parser() -> ArgumentParser:
    about = "Per-class IoU, mIoU and pixel accuracy of a checkpoint."
    parser = new_parser("mixseg evaluate", about)
    add_inference_arguments(parser)
    add = adder(parser)
    add("--data-root", "[that of the run]", dest="root")
    add("--dataset", "layout of the data, which may have other classes [the run's]")
    map_help = "from the data's classes to the network's, or the other way [built in]"
    add("--class-map", map_help, metavar="FILE")
    add("--split", "[the validation split of the run, or the images it held out]")
    unpaired_help = "what becomes of images without a label [data.unpaired of the run]"
    add("--unpaired", unpaired_help, choices=("error", "skip"))
    networks = ("student", "teacher", "average", "both")
    network_help = "both takes what the checkpoint has [both]"
    add("--network", network_help, choices=networks, default="both")
    add(
        "--resolution",
        "where labels are compared: at their own size, at that of the images for the network, "
        "or at another [validation.resolution of the run; native with --dataset]",
        metavar="native|input|HEIGHTxWIDTH",
    )
    save_help = "new or empty folder for a PNG of each image"
    add("--save-predictions", save_help, dest="save", metavar="DIR")
    add(
        "--format",
        "what is saved; label-ids are those of the data set's own files, which benchmark servers "
        "take [train-ids]",
        choices=("train-ids", "label-ids", "colour"),
        default="train-ids",
    )
    changes_help = "score on the run's data although they have changed since it was trained"
    parser.add_argument("--allow-changes", action="store_true", help=changes_help)
    add("--json", "write the scores as JSON too", metavar="FILE")
    add("--workers", "processes that read images [0]", int, Range(0, 256), default=0)
    batch_help = "images of a size that go through the network together [1]"
    add("--batch-size", batch_help, int, Range(1, 65_536), default=1)
    return parser


def _resolution(asked_for: str | None, of_run: str, input_size: Size | None) -> Resolution:
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


def _saver(folder: Path, dataset: SegmentationDataset, form: str, classes: ClassSet) -> OnImage:
    """What writes each prediction under the id of its image."""
    encode = ENCODINGS["ids" if form == "train-ids" else form]

    def save(index: int, prediction: LabelArray) -> None:
        path = folder / f"{dataset.samples[index].id}.png"
        write_picture(path, encode(prediction, classes))

    return save
