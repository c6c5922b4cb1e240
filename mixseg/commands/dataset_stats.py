"""Classes and sizes of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixseg.commands.parsing import Parser, file_of_format
from mixseg.config.presets import check_layout, configuration_file, settings_from
from mixseg.files import check_unused, write_atomically
from mixseg.tables import FORMATS
from mixseg.terminal import new_console, progress_bar, say, show


def dataset_stats(arguments: Sequence[str]) -> int:
    """``mixseg dataset-stats``."""
    parser = Parser(
        "mixseg dataset-stats",
        "Pixels and images of each class, image sizes, share of void, and the files that cannot be "
        "read. Counts of labels are kept in the cache.",
    )
    add = parser.add
    many: dict[str, Any] = {"action": "extend", "nargs": "+", "default": []}
    add("--config", "that name a data set", **many, metavar="FILE")
    add("--dataset", "layout of the data [demo]")
    add("--data-root", "its folder", dest="root", metavar="DIR")
    add("--split", "name of the split", default="train")
    add("--overwrite", "replace the --output that exists", action="store_true")
    add("--output", f"write them too: {', '.join(FORMATS)}", metavar="FILE")
    parsed = parser.read(arguments)
    check_layout(
        root_given=parsed.root is not None,
        layout_known=parsed.dataset is not None or bool(parsed.config),
    )
    output = file_of_format("--output", parsed.output, FORMATS)
    if output is not None:
        check_unused([output], overwrite=parsed.overwrite)
    given = {"data.dataset": parsed.dataset, "data.root": parsed.root}
    overrides = {key: value for key, value in given.items() if value is not None}
    files = [configuration_file(name) for name in parsed.config]
    settings = settings_from(files, overrides, parsed.import_names)

    from mixseg.analysis.dataset_statistics import DatasetStatistics
    from mixseg.data.statistics import image_statistics, label_statistics
    from mixseg.training.data import RunData

    console = new_console()
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
    return 1 if found.problems else 0
