"""Scores of a trained network on a split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mixseg.commands.inference import (
    add_inference_arguments,
    inference_mode,
    input_size_of,
    load_saved,
    new_folder,
    placed,
)
from mixseg.commands.parsing import (
    ArgumentParser,
    Namespace,
    adder,
    check_folder,
    new_parser,
    parse,
    size_type,
)
from mixseg.config.values import Range
from mixseg.data.arrays import LabelArray, Size
from mixseg.data.contract import ClassSet, SegmentationDataset
from mixseg.errors import ConfigError
from mixseg.evaluation.pictures import ENCODINGS
from mixseg.files import write_atomically
from mixseg.terminal import new_console, say, show

if TYPE_CHECKING:
    from mixseg.evaluation.evaluator import OnImage, Resolution


def evaluate(arguments: Sequence[str]) -> int:
    """``mixseg evaluate``."""
    parsed = parse(_parser(), arguments)
    check_folder("--json", parsed.json)

    from mixseg.distributed import joined

    with joined() as processes:
        content = _scored(parsed, processes.rank)
        if parsed.json is not None and processes.rank == 0:
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
    add("--network", "both takes what the checkpoint has [both]", choices=networks, default="both")
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
    add("--allow-changes", changes_help, action="store_true")
    add("--json", "write the scores as JSON too", metavar="FILE")
    add("--workers", "processes that read images [0]", int, Range(0, 256), default=0)
    batch_help = "images of a size that go through the network together [1]"
    add("--batch-size", batch_help, int, Range(1, 65_536), default=1)
    return parser


def _scored(parsed: Namespace, rank: int) -> dict[str, object]:
    """Print the scores; returns them as JSON."""
    from mixseg.evaluation.evaluator import evaluate as evaluate_network
    from mixseg.evaluation.out_of_domain import common_classes
    from mixseg.evaluation.protocols import mean_over, protocol, scores_table
    from mixseg.training.data import RunData, check_dataset_name, settings_on, unpaired_notes
    from mixseg.training.precision import choose_device

    console = new_console(quiet=rank > 0)
    if parsed.dataset is not None:
        check_dataset_name(parsed.dataset, "--dataset")
    device = choose_device(parsed.device)

    # The networks, and how images go through them.
    saved = load_saved(parsed.checkpoint, parsed.network)
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
        saved.check_data(dataset, allow_changes=parsed.allow_changes)
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
        on_image = None
        if folder is not None:
            inside = folder / name if len(saved.networks) > 1 else folder
            on_image = _saver(inside, dataset, parsed.format, common.classes)
        scores[name] = evaluate_network(
            network,
            dataset,
            input_size=input_size,
            resolution=resolution,
            mode=mode,
            device=device,
            autocast=placed(network, device, parsed.precision, saved).autocast,
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
    return {
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
        size: Size = size_type("--resolution")(named)
    except ConfigError as error:
        raise ConfigError(f"{error}, native or input") from error
    return size


def _saver(folder: Path, dataset: SegmentationDataset, form: str, classes: ClassSet) -> OnImage:
    """What writes each prediction under the id of its image."""
    from mixseg.evaluation.prediction import write_picture

    encode = ENCODINGS["ids" if form == "train-ids" else form]

    def save(index: int, prediction: LabelArray) -> None:
        path = folder / f"{dataset.samples[index].id}.png"
        write_picture(path, encode(prediction, classes))

    return save
