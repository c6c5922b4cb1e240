"""A copy of a data set at training size."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from mixseg.commands.parsing import (
    add_file_arguments,
    adder,
    any_settings,
    new_parser,
    parse,
    size_type,
)
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
    parser = new_parser("mixseg prepare-data", ABOUT)
    add_file_arguments(parser)
    add = adder(parser)
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
    parsed = parse(parser, arguments, settings=True)
    part = parsed.part
    if part not in PARTS:
        raise ConfigError(f"--part: {unknown_name('part', part, PARTS)}")
    if "output" not in parsed:  # a setting, whose value in files is the folder of runs
        raise ConfigError("--output DIR is missing: the folder of the copy")
    settings = any_settings(parsed)

    from mixseg.analysis.data_check import report_lines
    from mixseg.data.check import PartReport
    from mixseg.data.loading import usable_cores
    from mixseg.data.prepared_copy import check_output, plan_splits, plan_unlabeled, prepare
    from mixseg.training.data import check_dataset_name, layout_with_options

    data, source = settings.data, settings.source_domain
    output = Path(settings.output).expanduser()
    section, key = (source, "source_domain") if part == "source" else (data, "data")
    root = data.unlabeled if part == "unlabeled" else section.root
    if part == "unlabeled" and root is None:
        raise ConfigError("--part unlabeled needs --unlabeled DIR, or a list file")
    if part == "source" and (source.dataset is None or root is None):
        raise ConfigError("--part source needs --source NAME and --source-root DIR")
    if part != "unlabeled":
        check_dataset_name(str(section.dataset), f"{key}.dataset")
    if root is None:
        raise ConfigError(f"data.root: where is {data.dataset}? Give its folder with --data-root")
    size = parsed.size or section.resize
    if size is None:
        raise ConfigError(
            f"--size HEIGHTxWIDTH is missing: {key}.resize is not set, so training does not resize"
        )
    place = Path(root).expanduser()
    if part == "unlabeled":
        plan = plan_unlabeled(place, size=size, compression=parsed.compression)
    else:
        name, layout = layout_with_options(str(section.dataset), key, settings.options)
        # A source has no validation split of its own, and its labeled images keep their size.
        validated = part == "data" and data.val_split in layout.splits(place)
        plan = plan_splits(
            name,
            place,
            size=size,
            training=source.split if part == "source" else data.train_split,
            validation=data.val_split if validated else None,
            keep_labeled=part == "source" or settings.validation.resolution == "native",
            compression=parsed.compression,
            interpolation=source.interpolation if part == "source" else "bilinear",
            layout=layout,
        )
    earlier = check_output(plan, output)
    console = new_console()
    with progress_bar(console, "preparing") as advance:
        outcome = prepare(
            plan,
            output,
            earlier,
            jobs=usable_cores() if parsed.jobs is None else parsed.jobs,
            keep_bad=data.skip_bad,
            progress=advance,
        )
    images = [one for one in plan.originals if one.read_image is not None]
    labels = sum(len(one.labels) for one in images)
    left_out = sum(len(one.targets) for one in plan.originals) - len(outcome.files)
    report = PartReport(part, str(plan.base), len(images), labels, outcome.problems)
    there = len(outcome.files) - outcome.written
    counted = f"{outcome.written} files written, {there} were there, {left_out} left out"
    for line in (*report_lines([report], parsed.show), *plan.notes, f"{output}: {counted}"):
        say(console, line)
    if left_out:
        say(
            console,
            "the copy is not whole, and splits of it would not be those of the original: put the "
            "files right and give the command again, or copy them as they are with --skip-bad",
        )
        return 1
    use = f"use it with {PARTS[part]} {shlex.quote(str(output / place.relative_to(plan.base)))}"
    set_size = f"--set {key}.resize=[{size[0]},{size[1]}]"
    if section.resize is None:  # images that keep their size have to be brought to it as well
        use += f" {set_size}"
    elif section.resize != size:
        height, width = section.resize
        say(
            console,
            f"{key}.resize is {height}x{width}, to which a loader still resizes; to train at the "
            f"size of the copy: {set_size}",
        )
    say(console, use)
    return 0
