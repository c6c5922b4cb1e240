"""Predictions of image files, of one network or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mixseg.commands.inference import (
    OF_RUN,
    add_inference_arguments,
    add_network_argument,
    inference_mode,
    input_size_of,
    load_saved,
    read_inference,
)
from mixseg.commands.parsing import Namespace, Parser, listed
from mixseg.config.values import Range
from mixseg.data.images import ImageArray, LabelArray
from mixseg.data.pairing import Folder
from mixseg.errors import ConfigError
from mixseg.evaluation.pictures import PICTURES, SHEET_ROWS, USUAL_PICTURES, distinct_titles
from mixseg.terminal import new_console, progress_bar, say


def predict(arguments: Sequence[str]) -> int:
    """``mixseg predict``."""
    parsed = read_inference(_parser(), arguments)
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


def _parser() -> Parser:
    about = "Ids, colors and overlays for images and folders of any size."
    parser = Parser("mixseg predict", about)
    add_inference_arguments(parser)
    add = parser.add
    add("paths", "images and folders", nargs="+")
    add("--output", "new or empty folder for files", required=True, metavar="DIR")
    add_network_argument(parser)
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
    from mixseg.evaluation.prediction import (
        Predictor,
        SideBySide,
        collect_images,
        new_folder,
        predict_files,
        squash_note,
    )
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
        ((name, network),) = saved.networks.items()
        autocast = saved.place(name, device, parsed.precision).autocast
        networks.append(Predictor(network, saved.classes, size, mode, device, autocast))
    titles = distinct_titles([(saved.run_name, saved.step) for saved in every])
    side_by_side = SideBySide(output, titles, networks, parsed.rows or SHEET_ROWS)
    # Sizes that nobody asked for; they are forgotten once a photograph was named.
    squashed_to = {size for size in input_sizes if size and parsed.resize == OF_RUN}

    def on_image(name: str, image: ImageArray, labels: LabelArray) -> None:
        if note := squash_note(name, image, squashed_to):
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
