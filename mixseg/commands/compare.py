"""In what runs differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mixseg.analysis.runs import FORMATS, Comparison, read_run, runs_of
from mixseg.commands.contract import EXIT_ERROR, prints_its_result
from mixseg.commands.parsing import check_folder, file_of_format, new_parser, parse
from mixseg.errors import DataError
from mixseg.files import write_atomically
from mixseg.terminal import new_console, say, show


@prints_its_result
def compare(arguments: Sequence[str]) -> int:
    """Show in what runs differ; see ``--help``."""
    parser = new_parser(
        "mixseg compare",
        "One table of the settings in which runs differ and of what came out. Runs that have not "
        "ended are shown with their last validation.",
    )
    runs_help = "folders of runs, or folders that hold some, such as an ablation's"
    parser.add_argument("runs", type=str, nargs="+", metavar="RUN", help=runs_help)
    output_help = f"write it as well: {', '.join(FORMATS)}"
    parser.add_argument("--output", type=str, metavar="FILE", help=output_help)
    parsed = parse(parser, arguments)
    console = new_console()
    output = file_of_format("--output", parsed.output, FORMATS)
    check_folder("--output", output)
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
    return EXIT_ERROR if problems else 0
