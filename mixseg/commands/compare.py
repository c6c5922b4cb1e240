"""In what runs differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mixseg.analysis.run_comparison import (
    FORMATS,
    RunRecord,
    compare_runs,
    comparison_table,
    read_run,
    runs_of,
    write_comparison,
)
from mixseg.commands.contract import EXIT_ERROR, prints_its_result
from mixseg.commands.output_files import check_folder
from mixseg.commands.parsing import new_parser, parse
from mixseg.errors import ConfigError, DataError
from mixseg.terminal import new_console, say, show


@prints_its_result
def compare(arguments: Sequence[str]) -> int:
    """Show in what runs differ; see ``--help``."""
    parser = new_parser(
        "mixseg compare",
        "One table of the settings in which runs differ and of what came out. Runs that have not "
        "ended are shown with their last validation.",
    )
    parser.add_argument(
        "runs",
        type=str,
        nargs="+",
        metavar="RUN",
        help="folders of runs, or folders that hold some, such as an ablation's",
    )
    parser.add_argument(
        "--output", type=str, metavar="FILE", help=f"write it as well: {', '.join(FORMATS)}"
    )
    parsed = parse(parser, arguments)
    console = new_console()
    output = None if parsed.output is None else Path(parsed.output)
    if output is not None and output.suffix not in FORMATS:
        raise ConfigError(f"--output {output}: the name must end in one of {', '.join(FORMATS)}")
    check_folder("--output", output)
    records, problems = _read_runs([Path(given) for given in parsed.runs])
    comparison = compare_runs(records)
    show(console, comparison_table(comparison))
    for problem in problems:
        say(console, f"left out: {problem}", "red")
    if output is not None:
        write_comparison(output, comparison)
        say(console, str(output))
    return EXIT_ERROR if problems else 0


def _read_runs(given: Sequence[Path]) -> tuple[list[RunRecord], list[str]]:
    """What runs say of themselves, each once, and why others could not be read.

    Raises:
        DataError: None could be read.
    """
    paths = [path for folder in given for path in runs_of(folder)]
    records, problems = [], []
    for path in {path.absolute(): path for path in paths}.values():
        try:
            records.append(read_run(path))
        except DataError as error:
            problems.append(str(error))
    if not records:
        raise DataError("; ".join(problems))
    return records, problems
