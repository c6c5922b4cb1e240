"""The settings in which runs differ, and their results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mixseg.commands.parsing import adder, check_folder, file_of_format, new_parser, parse
from mixseg.errors import DataError
from mixseg.files import write_atomically
from mixseg.tables import FORMATS
from mixseg.terminal import new_console, say, show


def compare(arguments: Sequence[str]) -> int:
    """``mixseg compare``."""
    parser = new_parser(
        "mixseg compare",
        "One table of the settings in which runs differ and of what came out. Runs that have not "
        "ended are shown with their last validation.",
    )
    add = adder(parser)
    runs_help = "folders of runs, or folders that hold some, such as an ablation's"
    add("runs", runs_help, nargs="+", metavar="RUN")
    add("--output", f"write it as well: {', '.join(FORMATS)}", metavar="FILE")
    parsed = parse(parser, arguments)
    output = file_of_format("--output", parsed.output, FORMATS)
    check_folder("--output", output)

    from mixseg.analysis.runs import Comparison, read_run, runs_of

    console = new_console()
    paths = [path for folder in parsed.runs for path in runs_of(Path(folder))]
    records, problems = [], []
    for path in {path.absolute(): path for path in paths}.values():  # each once
        try:
            records.append(read_run(path))
        except DataError as error:
            problems.append(str(error))
    if not records:
        raise DataError("; ".join(problems))
    comparison = Comparison.of(records)
    show(console, comparison.terminal_table())
    for problem in problems:
        say(console, f"left out: {problem}", "red")
    if output is not None:
        write_atomically(output, FORMATS[output.suffix](comparison))
        say(console, str(output))
    return 1 if problems else 0
