"""Scores of a trained network on a split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mixseg.commands.inference import (
    OF_RUN,
    add_inference_arguments,
    inference_mode,
    input_size_of,
    load_saved,
    read_inference,
)
from mixseg.commands.parsing import Namespace, Parser, check_folder, size_type
from mixseg.config.values import NETWORKS, Range, Size
from mixseg.errors import ConfigError
from mixseg.evaluation.pictures import ENCODINGS
from mixseg.files import write_atomically
from mixseg.registry import SLOTS
from mixseg.terminal import new_console, say, show

if TYPE_CHECKING:
    from mixseg.evaluation.evaluator import Resolution


def evaluate(arguments: Sequence[str]) -> int:
    """``mixseg evaluate``."""
    parsed = read_inference(_parser(), arguments)
    parsed.resolution = _word_or_size(parsed.resolution)
    if parsed.dataset is not None:
        SLOTS.dataset.check({"data.dataset": parsed.dataset}, "--dataset")
    check_folder("--json", parsed.json)

    from mixseg.distributed import joined

    with joined() as processes:
        content = _scored(parsed, processes.rank)
        if parsed.json is not None and processes.rank == 0:
            write_atomically(Path(parsed.json), json.dumps(content, indent=1))
    return 0


def _parser() -> Parser:
    about = "Per-class IoU, mIoU and pixel accuracy of a checkpoint."
    parser = Parser("mixseg evaluate", about)
    add_inference_arguments(parser)
    add = parser.add
    add("--data-root", "[that of the run]", dest="root")
    add("--dataset", "layout of the data, which may have other classes [the run's]")
    map_help = "from the data's classes to the network's, or the other way [built in]"
    add("--class-map", map_help, metavar="FILE")
    add("--split", "[the validation split of the run, or the images it held out]")
    unpaired_help = "what becomes of images without a label [data.unpaired of the run]"
    parser.add_like("--unpaired", "data.unpaired", unpaired_help)
    networks = (*NETWORKS, "both")
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
    parser.add_like("--batch-size", "validation.batch_size", batch_help, metavar="N", default=1)
    return parser


def _scored(parsed: Namespace, rank: int) -> dict[str, object]:
    """Print the scores; returns them as JSON."""
    from mixseg.evaluation.evaluator import evaluate as evaluate_network
    from mixseg.evaluation.prediction import new_folder, prediction_saver
    from mixseg.evaluation.protocols import mean_over, protocol, scores_table
    from mixseg.training.compared import open_compared
    from mixseg.training.data import unpaired_notes
    from mixseg.training.precision import choose_device

    console = new_console(quiet=rank > 0)
    device = choose_device(parsed.device)

    # The networks, and how images go through them.
    saved = load_saved(parsed.checkpoint, parsed.network)
    mode = inference_mode(parsed, saved)
    input_size = input_size_of(saved, parsed.resize)
    of_run = "native" if parsed.dataset else saved.settings.get("validation.resolution", "native")
    resolution = _resolution(parsed.resolution, str(of_run), input_size)

    # The data, and the classes in which both are compared.
    compared = open_compared(
        saved,
        dataset=parsed.dataset,
        root=parsed.root,
        split=parsed.split,
        unpaired=parsed.unpaired,
        class_map=parsed.class_map,
        allow_changes=parsed.allow_changes,
    )
    dataset, common = compared.dataset, compared.classes
    shown = "own size" if input_size is None else f"{input_size[0]}x{input_size[1]}"
    size_from = "data.resize of the run" if parsed.resize == OF_RUN else "--resize"
    for line in (
        *unpaired_notes(dataset),
        *common.describe(),
        f"images reach the network in {shown} ({size_from})",
    ):
        say(console, line)

    folder = None if parsed.save is None else new_folder(Path(parsed.save), "--save-predictions")
    encode = ENCODINGS[parsed.format.replace("train-ids", "ids")]
    scores = {}
    for name, network in saved.networks.items():
        on_image = None
        if folder is not None:
            inside = folder / name if len(saved.networks) > 1 else folder
            on_image = prediction_saver(inside, dataset, encode, common.classes)
        scores[name] = evaluate_network(
            network,
            dataset,
            input_size=input_size,
            resolution=resolution,
            mode=mode,
            device=device,
            autocast=saved.place(name, device, parsed.precision).autocast,
            workers=parsed.workers,
            batch_size=parsed.batch_size,
            on_image=on_image,
            joined=common.of_predictions,
            judged=common.judged,
        )

    # Which classes are judged depends on the labels alone: any network's scores tell.
    one = next(iter(scores.values()))
    means = protocol(saved.settings.get("source_domain.dataset"), common.classes.names)
    title = f"{saved.path.name}, step {saved.step}, {dataset.name} {compared.split}"
    notes = common.caption(one)
    show(console, scores_table(scores, title, means, mean=common.mean_name(one), notes=notes))
    return {
        "checkpoint": str(saved.path),
        "step": saved.step,
        "dataset": str(dataset.root),
        "split": compared.split,
        "input_size": input_size,
        "class_map": None if common.is_plain else common.to_json(),
        "judged": [name for name, value in one.by_class.items() if value is not None],
        "scores": {
            name: found.to_json()
            | {mean: mean_over(found, classes) for mean, classes in means.items()}
            for name, found in scores.items()
        },
    }


def _word_or_size(given: str | None) -> str | Size | None:
    if given in (None, "native", "input"):
        return given
    try:
        size: Size = size_type("--resolution")(given)
    except ConfigError as error:
        raise ConfigError(f"{error}, native or input") from error
    return size


def _resolution(asked_for: str | Size | None, of_run: str, input_size: Size | None) -> Resolution:
    """Where labels are compared: as ``--resolution`` says, else as in the run's validation."""
    if isinstance(asked_for, tuple):
        return asked_for
    if (asked_for or of_run) == "input" and input_size is not None:
        return input_size
    if asked_for == "input":
        raise ConfigError("--resolution input: images reach the network in their own size")
    return "native"
