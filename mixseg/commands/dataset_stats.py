"""What a data set holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixseg.analysis.dataset_statistics import FORMATS, DatasetStatistics
from mixseg.commands.contract import EXIT_ERROR, prints_its_result
from mixseg.commands.parsing import file_of_format, new_parser, parse
from mixseg.commands.presets import configuration_file
from mixseg.commands.settings_arguments import check_layout
from mixseg.config.resolve import resolve_settings
from mixseg.data.statistics import image_statistics, label_statistics
from mixseg.files import check_unused, write_atomically
from mixseg.terminal import new_console, progress_bar, say, show
from mixseg.training.data import RunData


@prints_its_result
def dataset_stats(arguments: Sequence[str]) -> int:
    """Count what a data set holds; see ``--help``."""
    parser = new_parser(
        "mixseg dataset-stats",
        "Pixels and images of each class, image sizes, share of void, and the files that cannot be "
        "read. Counts of labels are kept in the cache.",
    )
    add = parser.add_argument
    many: dict[str, Any] = {"action": "extend", "nargs": "+", "default": []}
    add("--config", **many, metavar="FILE", help="that name a data set")
    add("--dataset", type=str, help="layout of the data [demo]")
    add("--data-root", dest="root", type=str, metavar="DIR")
    add("--split", type=str, default="train", help="name of the split")
    add("--overwrite", action="store_true", help="replace the --output that exists")
    add("--output", type=str, metavar="FILE", help=f"write them too: {', '.join(FORMATS)}")
    parsed = parse(parser, arguments)
    console = new_console()
    check_layout(
        root_given=parsed.root is not None,
        layout_known=parsed.dataset is not None or bool(parsed.config),
    )
    output = file_of_format("--output", parsed.output, FORMATS)
    if output is not None:
        check_unused([output], overwrite=parsed.overwrite)
    given = {"data.dataset": parsed.dataset, "data.root": parsed.root}
    overrides = {key: value for key, value in given.items() if value is not None}
    settings = resolve_settings([configuration_file(name) for name in parsed.config], overrides)
    RunData(settings).check()
    dataset = RunData(settings).split(parsed.split)
    every = range(len(dataset))
    with progress_bar(console, "labels") as advance:
        labels = label_statistics(dataset, every, on_count=advance)
    with progress_bar(console, "images") as advance:
        found = DatasetStatistics(dataset, labels, image_statistics(dataset, every, advance))
    show(console, found.terminal_table())
    for line in found.summary():
        say(console, line, "red" if line.startswith("corrupt") else None)
    if output is not None:
        write_atomically(output, FORMATS[output.suffix](found))
    return EXIT_ERROR if found.problems else 0
