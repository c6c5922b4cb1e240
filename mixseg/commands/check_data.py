"""Damaged, missing and wrong files of a configuration's data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mixseg.analysis.data_check import inspect_data, report_lines
from mixseg.analysis.data_check import to_json as data_report
from mixseg.commands.contract import EXIT_ERROR, prints_its_result
from mixseg.commands.parsing import check_folder, new_parser
from mixseg.commands.settings_arguments import add_file_arguments, any_settings, parse_with_settings
from mixseg.config.schema import to_flat
from mixseg.config.values import FlagType, Range
from mixseg.files import write_atomically
from mixseg.terminal import new_console, say
from mixseg.training.data import RunData
from mixseg.training.streams import loader_workers


@prints_its_result
def check_data(arguments: Sequence[str]) -> int:
    """Read every file of a configuration's data; see ``--help``."""
    parser = new_parser(
        "mixseg check-data",
        "Read every image and label of a configuration's data with several processes and list what "
        "is damaged, missing or wrong. Takes the settings of a training command. The exit code is "
        "1 if there is any problem.",
    )
    add_file_arguments(parser)
    parser.add_argument("--json", type=str, metavar="FILE", help="write all problems as JSON too")
    parser.add_argument(
        "--show",
        type=FlagType("--show", int, Range(0, 1e9)),
        default=10,
        metavar="N",
        help="files of each kind that are named [10]",
    )
    parsed = parse_with_settings(parser, arguments)
    console = new_console()
    check_folder("--json", parsed.json)
    settings = any_settings(parsed)
    RunData(settings).check()
    reports = inspect_data(
        RunData(settings).parts(), console, loader_workers(settings.data.workers)
    )
    for line in report_lines(reports, parsed.show):
        say(console, line)
    if parsed.json is not None:
        domains = {
            key: value
            for key, value in to_flat(settings).items()
            if key.startswith(("data.", "source_domain."))
        }
        write_atomically(Path(parsed.json), data_report(reports, domains))
    return EXIT_ERROR if any(report.problems for report in reports) else 0
