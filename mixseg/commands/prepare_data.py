"""A copy of a data set at training size."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from mixseg.commands.parsing import Parser, any_settings, size_type
from mixseg.config.values import Range
from mixseg.errors import ConfigError, unknown_name
from mixseg.terminal import new_console, progress_bar, say

ABOUT = (
    "Write to --output DIR a copy of a data set whose training images and labels have the size "
    "that training resizes them to, in the same layout, so that the same loader reads it without "
    "resizing. Takes the settings of a training command. The original is never changed; a copy "
    "that was interrupted goes on when the command is given again. --output is the folder of the "
    "copy itself, and has to be given. The exit code is 1 if a file of the original is damaged: "
    "those are left out, or with --skip-bad copied as they are."
)

PARTS = {"data": "--data-root", "source": "--source-root", "unlabeled": "--unlabeled"}
"""Part of a configuration's data -> the flag that takes its copy."""


def prepare_data(arguments: Sequence[str]) -> int:
    """``mixseg prepare-data``."""
    parser = Parser("mixseg prepare-data", ABOUT, settings=True)
    add = parser.add
    size_help = "of the copy [data.resize]"
    add("--size", size_help, size_type("--size"), metavar="HEIGHTxWIDTH")
    add("--part", f"{', '.join(PARTS)} [data]", default="data")
    jobs_help = "processes that work [the number of cores]"
    add("--jobs", jobs_help, int, Range(1, 1024), metavar="N")
    compression_help = (
        "of PNG images: 0 is fastest to read and takes 3 bytes per pixel, 1 a third of it, 9 the "
        "least [0]"
    )
    add("--compression", compression_help, int, Range(0, 9), default=0, metavar="N")
    show_help = "bad files of a kind that are named [10]"
    add("--show", show_help, int, Range(0, 1e9), default=10, metavar="N")
    parsed = parser.read(arguments)
    part = parsed.part
    if part not in PARTS:
        raise ConfigError(f"--part: {unknown_name('part', part, PARTS)}")
    if "output" not in parsed:  # a setting, whose value in files is the folder of runs
        raise ConfigError("--output DIR is missing: the folder of the copy")
    settings = any_settings(parsed)

    from mixseg.analysis.data_copy import copy_of_part, lines_about
    from mixseg.data.loading import usable_cores
    from mixseg.data.prepared_copy import check_output, prepare

    copied = copy_of_part(
        part,
        settings.data,
        settings.source_domain,
        settings.options,
        parsed.size,
        parsed.compression,
        keeps_labels=settings.validation.resolution == "native",
    )
    output = Path(settings.output).expanduser()
    earlier = check_output(copied.plan, output)
    console = new_console()
    with progress_bar(console, "preparing") as advance:
        outcome = prepare(
            copied.plan,
            output,
            earlier,
            jobs=usable_cores() if parsed.jobs is None else parsed.jobs,
            keep_bad=settings.data.skip_bad,
            progress=advance,
        )
    left_out = sum(len(one.targets) for one in copied.plan.originals) - len(outcome.files)
    for line in lines_about(copied, outcome, output, left_out, parsed.show):
        say(console, line)
    if left_out:
        say(
            console,
            "the copy is not whole, and splits of it would not be those of the original: put the "
            "files right and give the command again, or copy them as they are with --skip-bad",
        )
        return 1
    flag, key, size = PARTS[part], copied.section, copied.size
    folder = output / copied.root.relative_to(copied.plan.base)
    use = f"use it with {flag} {shlex.quote(str(folder))}"
    set_size = f"--set {key}.resize=[{size[0]},{size[1]}]"
    if copied.resize is None:  # images that keep their size have to be brought to it as well
        use += f" {set_size}"
    elif copied.resize != size:
        height, width = copied.resize
        say(
            console,
            f"{key}.resize is {height}x{width}, to which a loader still resizes; to train at the "
            f"size of the copy: {set_size}",
        )
    say(console, use)
    return 0
