"""What a data set holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from mixseg.analysis.dataset_statistics import FORMATS as STATISTICS_FORMATS
from mixseg.analysis.dataset_statistics import DatasetStatistics, summary
from mixseg.analysis.dataset_statistics import terminal_table as statistics_table
from mixseg.commands.contract import EXIT_ERROR
from mixseg.commands.parsing import new_parser, parse, with_joined
from mixseg.config import (
    resolve_settings,
)
from mixseg.data.statistics import image_statistics, label_statistics
from mixseg.engine.progress import progress_bar
from mixseg.errors import ConfigError, unknown_name
from mixseg.escaping import printable
from mixseg.files import check_unused, write_atomically
from mixseg.training_data import (
    check_data_settings,
    open_split,
)


def dataset_stats(arguments: Sequence[str]) -> int:
    """Count what a data set holds; see ``--help``."""
    parser = new_parser(
        "mixseg dataset-stats",
        "Pixels and images of each class, image sizes, share of void, and the files that cannot be "
        "read. Counts of labels are kept in the cache.",
    )
    parser.add_argument(
        "--config", type=str, default=[], nargs="+", metavar="FILE", help="that name a data set"
    )
    parser.add_argument("--dataset", type=str, help="layout of the data [demo]")
    parser.add_argument("--data-root", dest="root", type=str, metavar="DIR")
    parser.add_argument("--split", type=str, default="train", help="name of the split")
    parser.add_argument("--overwrite", action="store_true", help="replace the --output that exists")
    parser.add_argument(
        "--output",
        type=str,
        metavar="FILE",
        help=f"write them too: {', '.join(STATISTICS_FORMATS)}",
    )
    parsed = parse(parser, with_joined(arguments, ("--config",)))
    console = Console()
    given = {"data.dataset": parsed.dataset, "data.root": parsed.root}
    overrides = {key: value for key, value in given.items() if value is not None}
    if parsed.root is not None and parsed.dataset is None and not parsed.config:
        raise ConfigError(
            "--data-root needs --config FILE or --dataset NAME, to know how the folder is laid out"
        )
    output = None
    if parsed.output is not None:
        output = Path(parsed.output)
        if output.suffix not in STATISTICS_FORMATS:
            raise ConfigError(
                f"--output: {unknown_name('format', output.suffix, STATISTICS_FORMATS)}"
            )
        check_unused([output], overwrite=parsed.overwrite)
    settings = resolve_settings([Path(name) for name in parsed.config], overrides)
    check_data_settings(settings)
    dataset = open_split(settings, parsed.split, console)
    every = range(len(dataset))
    with progress_bar(console, "labels") as advance:
        labels = label_statistics(dataset, every, on_count=advance)
    with progress_bar(console, "images") as advance:
        images = image_statistics(dataset, every, advance)
    found = DatasetStatistics(dataset, labels, images)
    console.print(statistics_table(found))
    for line in summary(found):
        style = "red" if line.startswith("corrupt") else None
        console.print(printable(line), style=style, markup=False, highlight=False, soft_wrap=True)
    if output is not None:
        write_atomically(output, STATISTICS_FORMATS[output.suffix](found))
    return EXIT_ERROR if found.problems else 0
