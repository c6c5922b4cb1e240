"""Predictions of image files, of one network or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from mixseg.commands.console import console_of_first
from mixseg.commands.contract import EXIT_ERROR, for_several_processes
from mixseg.commands.inference import (
    add_inference_arguments,
    divided,
    inference_mode,
    input_size_of,
    load_saved,
    new_folder,
    placed,
)
from mixseg.commands.parsing import ArgumentParser, Namespace, adder, listed, new_parser, parse
from mixseg.config.values import Range
from mixseg.data.arrays import ImageArray, LabelArray, Size
from mixseg.data.pairing import Folder
from mixseg.distributed import summed, world
from mixseg.errors import ConfigError
from mixseg.evaluation.inference import InferenceMode
from mixseg.evaluation.pictures import distinct_titles
from mixseg.evaluation.prediction import (
    PICTURES,
    SHEET_ROWS,
    USUAL_PICTURES,
    Predictor,
    SideBySide,
    collect_images,
    predict_files,
)
from mixseg.terminal import new_console, progress_bar, say
from mixseg.training.precision import choose_device
from mixseg.training.saved_network import SavedNetworks

NOTICEABLE = 0.1
"""Change of width over height from which on a squashed photograph is named."""


@for_several_processes
@divided
def predict(arguments: Sequence[str]) -> int:
    """Predict images; see ``--help``."""
    parsed = parse(_parser(), arguments)
    console = console_of_first()
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
    networks = [
        _predictor(parsed, saved, mode, input_size, device)
        for saved, mode, input_size in zip(every, modes, input_sizes, strict=True)
    ]
    titles = distinct_titles([(saved.run_name, saved.step) for saved in every])
    side_by_side = SideBySide(output, titles, networks, parsed.rows or SHEET_ROWS)
    # Sizes that nobody asked for; they are forgotten once a photograph was named.
    squashed_to = {size for size in input_sizes if size and parsed.resize is None}

    def on_image(name: str, image: ImageArray, labels: LabelArray) -> None:
        if _said_that_it_is_squashed(console, name, image, squashed_to):
            squashed_to.clear()
        if parsed.compare:
            side_by_side(name, image, labels)

    with progress_bar(console, "predicting") as advance:
        failures = predict_files(
            networks[0], paths, output, formats=formats, on_progress=advance, on_image=on_image
        )
    side_by_side.write_sheet()
    for failure in failures:  # of this process, whichever it is
        say(new_console(), f"skipped {failure.reason}", "red")
    skipped = int(summed(torch.tensor(len(failures))))
    legend = "; below each overlay is the legend of its classes" if "overlay" in formats else ""
    say(console, f"{len(images) - skipped} of {len(images)} images predicted into {output}{legend}")
    return EXIT_ERROR if skipped else 0


def _parser() -> ArgumentParser:
    about = "Ids, colors and overlays for images and folders of any size."
    parser = new_parser("mixseg predict", about)
    add_inference_arguments(parser)
    add = adder(parser)
    add("paths", "images and folders", nargs="+")
    add("--output", "new or empty folder for files", required=True, metavar="DIR")
    network_help = "[teacher or average, or the student where a checkpoint has neither]"
    add("--network", network_help, choices=("student", "teacher", "average"))
    usual = ",".join(USUAL_PICTURES)
    add(
        "--formats",
        f"some of {','.join(PICTURES)}; label-ids are those of the data set's own files, which "
        f"benchmark servers take [{usual}]",
        default=usual,
    )
    add(
        "--compare",
        "further checkpoints, drawn side by side with the first; images go before this flag",
        nargs="+",
        default=[],
        metavar="CHECKPOINT",
    )
    rows_help = "photographs in comparison.png, with --compare [12]"
    add("--rows", rows_help, int, Range(1, 1000), metavar="N")
    return parser


def _formats(parsed: Namespace) -> list[str]:
    """What is to be written for each image; flags that do not go together are refused."""
    if parsed.rows is not None and not parsed.compare:
        raise ConfigError(f"--rows {parsed.rows} does nothing without --compare")
    if parsed.compare and world().size > 1:
        raise ConfigError("--compare draws one sheet and runs in one process, without torchrun")
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


def _said_that_it_is_squashed(
    console: Console, name: str, image: ImageArray, sizes: set[Size]
) -> bool:
    """Whether ``data.resize`` changes the shape of a photograph, which is then said."""
    height, width = image.shape[:2]
    for rows, columns in sizes:
        ratio = columns * height / (rows * width)
        change = max(ratio, 1 / ratio) - 1
        if change > NOTICEABLE:
            say(
                console,
                f"note: {name} is {height}x{width} and reaches the network as {rows}x{columns} "
                f"(data.resize of the run), which changes its shape by {100 * change:.0f} %; "
                "--resize HEIGHTxWIDTH gives another size, --resize none keeps each image's "
                "own. Further images are not named",
            )
            return True
    return False
