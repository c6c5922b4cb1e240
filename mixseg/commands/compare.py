"""In what runs differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from mixseg.analysis.run_comparison import (
    FORMATS,
    compare_runs,
    comparison_table,
    read_run,
    runs_of,
    write_comparison,
)
from mixseg.commands.contract import EXIT_ERROR
from mixseg.commands.parsing import new_parser, parse
from mixseg.errors import ConfigError, DataError
from mixseg.escaping import printable


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
    console = Console()
    output = None if parsed.output is None else Path(parsed.output)
    if output is not None and output.suffix not in FORMATS:
        raise ConfigError(f"--output {output}: the name must end in one of {', '.join(FORMATS)}")
    if output is not None and not output.absolute().parent.is_dir():
        raise ConfigError(f"--output {output}: there is no such folder")
    paths = [path for given in parsed.runs for path in runs_of(Path(given))]
    records, problems = [], []
    for path in {path.absolute(): path for path in paths}.values():
        try:
            records.append(read_run(path))
        except DataError as error:
            problems.append(str(error))
    if not records:
        raise DataError("; ".join(problems))
    comparison = compare_runs(records)
    console.print(comparison_table(comparison))
    for problem in problems:
        text = f"left out: {printable(problem)}"
        console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    if output is not None:
        write_comparison(output, comparison)
        console.print(printable(str(output)), markup=False, highlight=False, soft_wrap=True)
    return EXIT_ERROR if problems else 0
