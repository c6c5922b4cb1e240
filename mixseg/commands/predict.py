"""Predictions of image files, of one network or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from mixseg.commands.console import console_of_first
from mixseg.commands.contract import EXIT_ERROR, for_several_processes
from mixseg.commands.inference import (
    add_inference_arguments,
    divided,
    inference_mode,
    input_size_of,
    load_saved,
    placed,
)
from mixseg.commands.output_files import new_folder
from mixseg.commands.parsing import ArgumentParser, Namespace, listed, new_parser, parse
from mixseg.commands.squash_note import SquashNote
from mixseg.config.values import FlagType, Range
from mixseg.data.arrays import ImageArray, LabelArray, Size
from mixseg.data.pairing import Folder
from mixseg.distributed import summed, world
from mixseg.errors import ConfigError
from mixseg.evaluation.inference import InferenceMode
from mixseg.evaluation.prediction import (
    PICTURES,
    USUAL_PICTURES,
    OnPhotograph,
    Predictor,
    collect_images,
    predict_files,
)
from mixseg.evaluation.side_by_side import SHEET_ROWS, SideBySide, distinct_titles
from mixseg.terminal import new_console, progress_bar, say
from mixseg.training.precision import choose_device
from mixseg.training.saved_network import SavedNetworks


@for_several_processes
@divided
def predict(arguments: Sequence[str]) -> int:
    """Predict images; see ``--help``."""
    parsed = parse(_prediction_parser(), arguments)
    console = console_of_first()
    _check_comparison(parsed)
    formats = _formats(parsed)
    device = choose_device(parsed.device)
    paths = [Path(path) for path in parsed.paths]
    images = collect_images(paths)
    folders = (Folder(path) for path in paths if path.is_dir())
    for left_out in filter(None, (folder.passed_over() for folder in folders)):
        say(console, f"note: {left_out}")
    every = [
        load_saved(Path(path), parsed.network or "either")
        for path in (parsed.checkpoint, *parsed.compare)
    ]
    modes = [inference_mode(parsed, saved) for saved in every]
    input_sizes = [input_size_of(saved, parsed.resize) for saved in every]
    output = new_folder(Path(parsed.output), "--output")
    first, *others = [
        _predictor(parsed, saved, mode, input_size, device)
        for saved, mode, input_size in zip(every, modes, input_sizes, strict=True)
    ]
    side_by_side = None
    if others:
        titles = distinct_titles([(saved.run_name, saved.step) for saved in every])
        side_by_side = SideBySide(output, titles, first, others, parsed.rows or SHEET_ROWS)
    note = None if parsed.resize is not None else SquashNote(console, input_sizes)
    with progress_bar(console, "predicting") as advance:
        failures = predict_files(
            first,
            paths,
            output,
            formats=formats,
            on_progress=advance,
            on_image=_both(note, side_by_side),
        )
    if side_by_side is not None:
        side_by_side.write_sheet()
    for failure in failures:  # of this process, whichever it is
        say(new_console(), f"skipped {failure.reason}", "red")
    skipped = int(summed(torch.tensor(len(failures))))
    legend = "; below each overlay is the legend of its classes" if "overlay" in formats else ""
    say(console, f"{len(images) - skipped} of {len(images)} images predicted into {output}{legend}")
    return EXIT_ERROR if skipped else 0


def _prediction_parser() -> ArgumentParser:
    parser = new_parser(
        "mixseg predict", "Ids, colours and overlays for images and folders of any size."
    )
    add_inference_arguments(parser)
    parser.add_argument("paths", nargs="+", help="images and folders")
    parser.add_argument(
        "--output", type=str, required=True, metavar="DIR", help="new or empty folder for files"
    )
    parser.add_argument(
        "--network",
        choices=("student", "teacher", "average"),
        help="[teacher or average, or the student where a checkpoint has neither]",
    )
    parser.add_argument(
        "--formats",
        type=str,
        default=",".join(USUAL_PICTURES),
        help=f"some of {','.join(PICTURES)}; label-ids are those of the data set's own files, "
        f"which benchmark servers take [{','.join(USUAL_PICTURES)}]",
    )
    parser.add_argument(
        "--compare",
        type=str,
        nargs="+",
        default=[],
        metavar="CHECKPOINT",
        help="further checkpoints, drawn side by side with the first; images go before this flag",
    )
    parser.add_argument(
        "--rows",
        type=FlagType("--rows", int, Range(1, 1000)),
        metavar="N",
        help="photographs in comparison.png, with --compare [12]",
    )
    return parser


def _both(*calls: OnPhotograph | None) -> OnPhotograph:
    """One call that makes those that are there, in turn."""

    def call(name: str, image: ImageArray, labels: LabelArray) -> None:
        for one in calls:
            if one is not None:
                one(name, image, labels)

    return call


def _check_comparison(parsed: Namespace) -> None:
    """Refuse flags of the sheet that do not go together."""
    if parsed.rows is not None and not parsed.compare:
        raise ConfigError(f"--rows {parsed.rows} does nothing without --compare")
    if parsed.compare and world().size > 1:
        raise ConfigError("--compare draws one sheet and runs in one process, without torchrun")


def _formats(parsed: Namespace) -> list[str]:
    """What is to be written for each image."""
    formats = set(listed(parsed.formats))
    if not formats <= set(PICTURES):
        raise ConfigError(f"--formats {parsed.formats}: expected some of {','.join(PICTURES)}")
    return sorted(formats)


def _predictor(
    parsed: Namespace,
    saved: SavedNetworks,
    mode: InferenceMode,
    input_size: Size | None,
    device: torch.device,
) -> Predictor:
    (network,) = saved.networks.values()
    precision = placed(network, device, parsed.precision, saved)
    return Predictor(network, saved.classes, input_size, mode, device, precision.autocast)
