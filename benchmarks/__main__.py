"""``python -m benchmarks [PART ...]``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.parts import DEFAULT_PARTS, PARTS
from benchmarks.report import conditions, describe
from benchmarks.workload import workload
from mixseg.cli import run
from mixseg.commands.parsing import (
    add_file_arguments,
    any_settings,
    new_parser,
    parse,
    size_type,
)
from mixseg.config.values import FlagType, Range
from mixseg.errors import ConfigError, unknown_name
from mixseg.files import check_unused, write_atomically
from mixseg.terminal import new_console, say, show


def benchmark(arguments: Sequence[str]) -> int:
    """Measure mixseg's code beside the papers' arithmetic; see ``--help``."""
    parser = new_parser(
        "python -m benchmarks",
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
    parsed = parse(parser, arguments, settings=True)
    for name in parsed.parts:
        if name not in PARTS:
            raise ConfigError(unknown_name("part of the benchmark", name, PARTS))
    if parsed.json is not None:
        check_unused([Path(parsed.json)], overwrite=True)
    work = workload(any_settings(parsed), parsed.rounds, parsed.files)
    console = new_console()
    content = conditions(work)
    say(console, describe(content))
    for name in parsed.parts or DEFAULT_PARTS:
        report = PARTS[name](work, console)
        content[name] = report.content
        for table in report.tables:
            show(console, table)
    if parsed.json is not None:
        write_atomically(Path(parsed.json), json.dumps(content, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(run(benchmark, prints=True))
