"""Predictions of image files, of one network or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mixseg.commands.inference import (
    EITHER,
    add_inference_arguments,
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
from mixseg.errors import ConfigError
from mixseg.evaluation.pictures import PICTURES, SHEET_ROWS, USUAL_PICTURES, distinct_titles
from mixseg.terminal import new_console, progress_bar, say

NOTICEABLE = 0.1
"""Change of width over height from which on a squashed photograph is named."""


def predict(arguments: Sequence[str]) -> int:
    """``mixseg predict``."""
    parsed = parse(_parser(), arguments)
    if parsed.rows is not None and not parsed.compare:
        raise ConfigError(f"--rows {parsed.rows} does nothing without --compare")
    formats = set(listed(parsed.formats))
    if not formats <= set(PICTURES):
        raise ConfigError(f"--formats {parsed.formats}: expected some of {','.join(PICTURES)}")

    from mixseg.distributed import joined

    with joined() as processes:
        if parsed.compare and processes.size > 1:
            raise ConfigError("--compare draws one sheet and runs in one process, without torchrun")
        return _predicted(parsed, sorted(formats), processes.rank)


def _parser() -> ArgumentParser:
    about = "Ids, colors and overlays for images and folders of any size."
    parser = new_parser("mixseg predict", about)
    add_inference_arguments(parser)
    add = adder(parser)
    add("paths", "images and folders", nargs="+")
    add("--output", "new or empty folder for files", required=True, metavar="DIR")
    add("--network", EITHER, choices=("student", "teacher", "average"))
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


def _predicted(parsed: Namespace, formats: Sequence[str], rank: int) -> int:
    """Write the files of all images; 1 if some were skipped."""
    import torch

    from mixseg.distributed import summed
    from mixseg.evaluation.prediction import Predictor, SideBySide, collect_images, predict_files
    from mixseg.training.precision import choose_device

    console = new_console(quiet=rank > 0)
    device = choose_device(parsed.device)
    paths = [Path(path) for path in parsed.paths]
    images = collect_images(paths)
    folders = (Folder(path) for path in paths if path.is_dir())
    for left_out in filter(None, (folder.passed_over() for folder in folders)):
        say(console, f"note: {left_out}")
    every = [load_saved(path, parsed.network) for path in (parsed.checkpoint, *parsed.compare)]
    modes = [inference_mode(parsed, saved) for saved in every]
    input_sizes = [input_size_of(saved, parsed.resize) for saved in every]
    output = new_folder(Path(parsed.output), "--output")
    networks = []
    for saved, mode, size in zip(every, modes, input_sizes, strict=True):
        (network,) = saved.networks.values()
        autocast = placed(network, device, parsed.precision, saved).autocast
        networks.append(Predictor(network, saved.classes, size, mode, device, autocast))
    titles = distinct_titles([(saved.run_name, saved.step) for saved in every])
    side_by_side = SideBySide(output, titles, networks, parsed.rows or SHEET_ROWS)
    # Sizes that nobody asked for; they are forgotten once a photograph was named.
    squashed_to = {size for size in input_sizes if size and parsed.resize is None}

    def on_image(name: str, image: ImageArray, labels: LabelArray) -> None:
        if note := _squashed(name, image, squashed_to):
            say(console, note)
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
    return 1 if skipped else 0


def _squashed(name: str, image: ImageArray, sizes: set[Size]) -> str:
    """A note if ``data.resize`` changes the shape of a photograph."""
    height, width = image.shape[:2]
    for rows, columns in sizes:
        ratio = columns * height / (rows * width)
        change = max(ratio, 1 / ratio) - 1
        if change > NOTICEABLE:
            return (
                f"note: {name} is {height}x{width} and reaches the network as {rows}x{columns} "
                f"(data.resize of the run), which changes its shape by {100 * change:.0f} %; "
                "--resize HEIGHTxWIDTH gives another size, --resize none keeps each image's "
                "own. Further images are not named"
            )
    return ""
