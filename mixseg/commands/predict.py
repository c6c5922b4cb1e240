"""Predictions of image files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console

from mixseg.commands.contract import EXIT_ERROR
from mixseg.commands.inference import (
    add_inference_arguments,
    console_of_first,
    divided,
    inference_mode,
    input_size_of,
    load_saved,
    new_folder,
)
from mixseg.commands.parsing import new_parser, parse
from mixseg.distributed import summed, world
from mixseg.engine.precision import choose_device, choose_precision
from mixseg.engine.progress import progress_bar
from mixseg.errors import ConfigError
from mixseg.escaping import printable
from mixseg.evaluation.prediction import (
    Predictor,
    collect_images,
    predict_files,
)
from mixseg.evaluation.side_by_side import SHEET_ROWS, SideBySide, distinct_titles


@divided
def predict(arguments: Sequence[str]) -> int:
    """Predict images; see ``--help``."""
    parser = new_parser(
        "mixseg predict", "Ids, colours and overlays for images and folders of any size."
    )
    add_inference_arguments(parser)
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
    parsed = parse(parser, arguments)
    console = console_of_first()
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
        load_saved(Path(path), parsed.network, console)
        for path in (parsed.checkpoint, *parsed.compare)
    ]
    modes = [inference_mode(parsed, saved) for saved in all_saved]
    output = new_folder(Path(parsed.output), "--output")
    predictors = []
    for saved, mode in zip(all_saved, modes, strict=True):
        network = saved.networks[parsed.network]
        network.to(device).to(memory_format=torch.channels_last)
        precision = choose_precision(parsed.precision, device, network)
        predictors.append(
            Predictor(
                network, saved.classes, input_size_of(saved), mode, device, precision.autocast
            )
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
