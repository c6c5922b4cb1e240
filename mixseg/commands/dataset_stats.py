"""What a data set holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from mixseg.analysis.dataset_statistics import FORMATS, DatasetStatistics, summary, terminal_table
from mixseg.commands.contract import EXIT_ERROR, prints_its_result
from mixseg.commands.parsing import ArgumentParser, Namespace, new_parser, parse
from mixseg.commands.presets import configuration_file
from mixseg.commands.settings_arguments import check_layout
from mixseg.config.resolve import resolve_settings
from mixseg.data.contract import SegmentationDataset
from mixseg.data.statistics import image_statistics, label_statistics
from mixseg.errors import ConfigError, unknown_name
from mixseg.files import check_unused, write_atomically
from mixseg.terminal import new_console, progress_bar, say, show
from mixseg.training.data import check_data_settings, open_split


@prints_its_result
def dataset_stats(arguments: Sequence[str]) -> int:
    """Count what a data set holds; see ``--help``."""
    parsed = parse(_statistics_parser(), arguments)
    console = new_console()
    check_layout(
        root_given=parsed.root is not None,
        layout_known=parsed.dataset is not None or bool(parsed.config),
    )
    output = _checked_output(parsed)
    found = _counted(_opened(parsed), console)
    show(console, terminal_table(found))
    for line in summary(found):
        say(console, line, "red" if line.startswith("corrupt") else None)
    if output is not None:
        write_atomically(output, FORMATS[output.suffix](found))
    return EXIT_ERROR if found.problems else 0


def _statistics_parser() -> ArgumentParser:
    parser = new_parser(
        "mixseg dataset-stats",
        "Pixels and images of each class, image sizes, share of void, and the files that cannot be "
        "read. Counts of labels are kept in the cache.",
    )
    parser.add_argument(
        "--config",
        type=str,
        default=[],
        action="extend",
        nargs="+",
        metavar="FILE",
        help="that name a data set",
    )
    parser.add_argument("--dataset", type=str, help="layout of the data [demo]")
    parser.add_argument("--data-root", dest="root", type=str, metavar="DIR")
    parser.add_argument("--split", type=str, default="train", help="name of the split")
    parser.add_argument("--overwrite", action="store_true", help="replace the --output that exists")
    parser.add_argument(
        "--output",
        type=str,
        metavar="FILE",
        help=f"write them too: {', '.join(FORMATS)}",
    )
    return parser


def _checked_output(parsed: Namespace) -> Path | None:
    """The file to write, whose suffix names its format."""
    if parsed.output is None:
        return None
    output = Path(parsed.output)
    if output.suffix not in FORMATS:
        raise ConfigError(f"--output: {unknown_name('format', output.suffix, FORMATS)}")
    check_unused([output], overwrite=parsed.overwrite)
    return output


def _opened(parsed: Namespace) -> SegmentationDataset:
    given = {"data.dataset": parsed.dataset, "data.root": parsed.root}
    overrides = {key: value for key, value in given.items() if value is not None}
    settings = resolve_settings([configuration_file(name) for name in parsed.config], overrides)
    check_data_settings(settings)
    return open_split(settings, parsed.split)


def _counted(dataset: SegmentationDataset, console: Console) -> DatasetStatistics:
    every = range(len(dataset))
    with progress_bar(console, "labels") as advance:
        labels = label_statistics(dataset, every, on_count=advance)
    with progress_bar(console, "images") as advance:
        images = image_statistics(dataset, every, advance)
    return DatasetStatistics(dataset, labels, images)
