"""mixseg's code beside the papers' arithmetic: time and memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mixseg.benchmark.parts import DEFAULT_PARTS, PARTS, check_parts
from mixseg.benchmark.report import conditions as workload_conditions
from mixseg.benchmark.report import describe as describe_workload
from mixseg.benchmark.report import part_tables
from mixseg.benchmark.workload import workload
from mixseg.commands.contract import prints_its_result
from mixseg.commands.parsing import new_parser, size_type
from mixseg.commands.settings_arguments import add_file_arguments, any_settings, parse_with_settings
from mixseg.config.values import FlagType, Range
from mixseg.files import check_unused, write_atomically
from mixseg.terminal import new_console, say, show


@prints_its_result
def benchmark(arguments: Sequence[str]) -> int:
    """Measure mixseg's code beside the papers' arithmetic; see ``--help``."""
    parser = new_parser(
        "mixseg benchmark",
        "Time and memory of mixseg's code beside a plain transcription of the papers' arithmetic, "
        "measured in turn in one process, on made-up data of the training size.",
    )
    parser.add_argument(
        "parts",
        type=str,
        nargs="*",
        metavar="PART",
        help=f"{', '.join(PARTS)} [all but memory]",
    )
    add_file_arguments(parser)
    parser.add_argument(
        "--rounds",
        type=FlagType("--rounds", int, Range(1, 100_000)),
        default=10,
        help="pairs that are measured [10]",
    )
    parser.add_argument(
        "--files",
        type=size_type("--files"),
        default=(1024, 2048),
        metavar="HEIGHTxWIDTH",
        help="loader: size of the image files [1024x2048]",
    )
    parser.add_argument("--json", type=str, metavar="FILE", help="write the numbers as JSON too")
    parsed = parse_with_settings(parser, arguments)
    check_parts(parsed.parts)
    if parsed.json is not None:
        check_unused([Path(parsed.json)], overwrite=True)
    work = workload(any_settings(parsed), parsed.rounds, parsed.files)
    console = new_console()
    say(console, describe_workload(work))
    reports = []
    for name in parsed.parts or DEFAULT_PARTS:
        reports.append(PARTS[name](work, console))
        for table in part_tables(reports[-1]):
            show(console, table)
    if parsed.json is not None:
        content = workload_conditions(work) | {one.name: one.to_json() for one in reports}
        write_atomically(Path(parsed.json), json.dumps(content, indent=1))
    return 0
