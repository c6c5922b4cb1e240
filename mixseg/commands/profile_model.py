"""Costs of a network and of its training step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mixseg.analysis.model_profile import profile_run, profile_tables
from mixseg.commands.contract import prints_its_result
from mixseg.commands.output_files import check_folder
from mixseg.commands.parsing import new_parser
from mixseg.commands.settings_arguments import add_file_arguments, any_settings, parse_with_settings
from mixseg.config import FlagType, Range
from mixseg.files import write_atomically
from mixseg.terminal import new_console, show


@prints_its_result
def profile_model(arguments: Sequence[str]) -> int:
    """Measure a network and its training step; see ``--help``."""
    parser = new_parser(
        "mixseg profile",
        "Parameters and operations of a network, time and memory of its training step, on random "
        "images of the training size.",
    )
    add_file_arguments(parser)
    parser.add_argument(
        "--images",
        type=FlagType("--images", int, Range(1, 1e9)),
        metavar="N",
        help="labelled images of an epoch; no data is needed then [those of the data]",
    )
    parser.add_argument(
        "--steps",
        type=FlagType("--steps", int, Range(1, 100_000)),
        default=5,
        help="training steps that are measured [5]",
    )
    parser.add_argument("--json", type=str, metavar="FILE", help="write the numbers as JSON too")
    parsed = parse_with_settings(parser, arguments)
    console = new_console()
    check_folder("--json", parsed.json)
    settings = any_settings(parsed)
    profile = profile_run(settings, images=parsed.images, steps=parsed.steps)
    for table in profile_tables(profile):
        show(console, table)
    if parsed.json is not None:
        write_atomically(Path(parsed.json), json.dumps(profile.to_json(), indent=1))
    return 0
