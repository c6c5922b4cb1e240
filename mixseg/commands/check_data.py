"""Damaged, missing and wrong files of a configuration's data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mixseg.commands.parsing import Parser, any_settings, check_folder
from mixseg.config.schema import to_flat
from mixseg.config.values import Range
from mixseg.files import write_atomically
from mixseg.terminal import new_console, say


def check_data(arguments: Sequence[str]) -> int:
    """``mixseg check-data``."""
    parser = Parser(
        "mixseg check-data",
        "Read every image and label of a configuration's data with several processes and list what "
        "is damaged, missing or wrong. Takes the settings of a training command. The exit code is "
        "1 if there is any problem.",
        settings=True,
    )
    add = parser.add
    add("--json", "write all problems as JSON too", metavar="FILE")
    show_help = "files of each kind that are named [10]"
    add("--show", show_help, int, Range(0, 1e9), default=10, metavar="N")
    parsed = parser.read(arguments)
    check_folder("--json", parsed.json)
    settings = any_settings(parsed)

    from mixseg.analysis.data_check import inspect_data, report_lines, to_json
    from mixseg.training.data import RunData
    from mixseg.training.streams import loader_workers

    console = new_console()
    RunData(settings).check()
    reports = inspect_data(
        RunData(settings).parts(), console, loader_workers(settings.data.workers)
    )
    for line in report_lines(reports, parsed.show):
        say(console, line)
    if parsed.json is not None:
        data = {
            key: value
            for key, value in to_flat(settings).items()
            if key.startswith(("data.", "source_domain."))
        }
        write_atomically(Path(parsed.json), to_json(reports, data))
    return 1 if any(report.problems for report in reports) else 0
