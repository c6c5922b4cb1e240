"""Scores of a trained network on a split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from mixseg.commands.inference import (
    add_inference_arguments,
    console_of_first,
    divided,
    inference_mode,
    input_size_of,
    load_saved,
    new_folder,
)
from mixseg.commands.parsing import height_and_width, new_parser, parse
from mixseg.distributed import world
from mixseg.engine.precision import choose_device, choose_precision
from mixseg.errors import ConfigError
from mixseg.escaping import printable
from mixseg.evaluation.confusion import Scores
from mixseg.evaluation.evaluator import evaluate
from mixseg.evaluation.out_of_domain import common_classes
from mixseg.evaluation.prediction import (
    save_prediction,
)
from mixseg.evaluation.protocols import mean_over, protocol
from mixseg.evaluation.tables import scores_table
from mixseg.files import write_atomically
from mixseg.training_data import (
    check_dataset_name,
    open_split,
    settings_on,
)


@divided
def evaluate_checkpoint(arguments: Sequence[str]) -> int:
    """Evaluate a checkpoint; see ``--help``."""
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
    parsed = parse(parser, arguments)
    console = console_of_first()

    if parsed.json is not None and not Path(parsed.json).absolute().parent.is_dir():
        raise ConfigError(f"--json {parsed.json}: there is no such folder")
    if parsed.dataset is not None:
        check_dataset_name(parsed.dataset, "--dataset")
    device = choose_device(parsed.device)
    saved = load_saved(Path(parsed.checkpoint), parsed.network, console)
    mode = inference_mode(parsed, saved)
    input_size = input_size_of(saved, parsed.resize)
    resolution: Any = "native"
    if parsed.resolution != "native":
        resolution = height_and_width("--resolution", parsed.resolution)
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
    folder = None if parsed.save is None else new_folder(Path(parsed.save), "--save-predictions")
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
