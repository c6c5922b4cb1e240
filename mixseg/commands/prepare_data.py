"""``mixseg prepare-data``: a copy of a data set at training size."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mixseg.analysis.data_check import PartReport, report_lines
from mixseg.commands.contract import EXIT_ERROR
from mixseg.commands.parsing import new_parser, size_type
from mixseg.commands.settings_arguments import add_file_arguments, any_settings, parse_with_settings
from mixseg.config import FlagType, Range, Settings
from mixseg.data.arrays import Size
from mixseg.data.prepared_copy import Plan, check_output, plan_splits, plan_unlabeled, prepare
from mixseg.data.registry import splits_of
from mixseg.data.streams import usable_cores
from mixseg.engine.progress import progress_bar
from mixseg.errors import ConfigError, unknown_name
from mixseg.terminal import new_console, say
from mixseg.training.data import check_dataset_name

ABOUT = (
    "Write to --output DIR a copy of a data set whose training images and labels have the size "
    "that training resizes them to, in the same layout, so that the same loader reads it without "
    "resizing. Takes the settings of a training command. The original is never changed; a copy "
    "that was interrupted goes on when the command is given again. --output is the folder of the "
    "copy itself, and has to be given. The exit code is 1 if a file of the original is damaged: "
    "those are left out, or with --skip-bad copied as they are."
)


class Request(NamedTuple):
    """What a person asked for.

    Attributes:
        settings: Of a run.
        size: Height and width, if they were given.
        compression: Of PNG images.
    """

    settings: Settings
    size: Size | None
    compression: int

    def size_or(self, resize: Size | None, key: str) -> Size:
        """The size of the copy: what was given, or a setting."""
        size = self.size or resize
        if size is None:
            raise ConfigError(
                f"--size HEIGHTxWIDTH is missing: {key} is not set, so training does not resize"
            )
        return size


class Part(NamedTuple):
    """A part of a configuration's data that a copy can be made of.

    Attributes:
        plan: What is to be copied.
        root: Flag that takes the copy.
        resize: Setting that holds its size.
        its_size: The value of that setting.
    """

    plan: Callable[[Request], Plan]
    root: str
    resize: str
    its_size: Callable[[Settings], Size | None]


def _data(request: Request) -> Plan:
    data = request.settings.data
    check_dataset_name(data.dataset, "data.dataset")
    if data.root is None:
        raise ConfigError(f"data.root: where is {data.dataset}? Give its folder with --data-root")
    root = Path(data.root).expanduser()
    name = "cityscapes" if data.dataset == "demo" else data.dataset
    return plan_splits(
        name,
        root,
        size=request.size_or(data.resize, "data.resize"),
        training=data.train_split,
        # Sources have no validation split of their own.
        validation=data.val_split if data.val_split in splits_of(name, root) else None,
        keep_labeled=request.settings.validation.resolution == "native",
        compression=request.compression,
    )


def _source(request: Request) -> Plan:
    source = request.settings.source_domain
    if source.dataset is None or source.root is None:
        raise ConfigError("--part source needs --source NAME and --source-root DIR")
    check_dataset_name(source.dataset, "source_domain.dataset")
    return plan_splits(
        "cityscapes" if source.dataset == "demo" else source.dataset,
        Path(source.root).expanduser(),
        size=request.size_or(source.resize, "source_domain.resize"),
        training=source.split,
        validation=None,
        keep_labeled=True,
        compression=request.compression,
        interpolation=source.interpolation,
    )


def _unlabeled(request: Request) -> Plan:
    data = request.settings.data
    if data.unlabeled is None:
        raise ConfigError("--part unlabeled needs --unlabeled DIR, or a list file")
    return plan_unlabeled(
        Path(data.unlabeled).expanduser(),
        size=request.size_or(data.resize, "data.resize"),
        compression=request.compression,
    )


PARTS: dict[str, Part] = {
    "data": Part(_data, "--data-root", "data.resize", lambda s: s.data.resize),
    "source": Part(
        _source, "--source-root", "source_domain.resize", lambda s: s.source_domain.resize
    ),
    "unlabeled": Part(_unlabeled, "--unlabeled", "data.resize", lambda s: s.data.resize),
}
"""Name -> part of a configuration's data."""


def prepare_data(arguments: Sequence[str]) -> int:
    """Write a copy at training size; see ``--help``."""
    parser = new_parser("mixseg prepare-data", ABOUT)
    add_file_arguments(parser)
    add = parser.add_argument
    add(
        "--size", type=size_type("--size"), metavar="HEIGHTxWIDTH", help="of the copy [data.resize]"
    )
    add("--part", type=str, default="data", help=f"{', '.join(PARTS)} [data]")
    add(
        "--jobs",
        type=FlagType("--jobs", int, Range(1, 1024)),
        metavar="N",
        help="processes that work [the number of cores]",
    )
    add(
        "--compression",
        type=FlagType("--compression", int, Range(0, 9)),
        default=0,
        metavar="N",
        help="of PNG images: 0 is fastest to read and takes 3 bytes per pixel, 1 a third of it, "
        "9 the least [0]",
    )
    add(
        "--show",
        type=FlagType("--show", int, Range(0, 1e9)),
        default=10,
        metavar="N",
        help="bad files of a kind that are named [10]",
    )
    parsed = parse_with_settings(parser, arguments)
    if parsed.part not in PARTS:
        raise ConfigError(f"--part: {unknown_name('part', parsed.part, PARTS)}")
    if "output" not in parsed:  # a setting, whose value in files is the folder of runs
        raise ConfigError("--output DIR is missing: the folder of the copy")
    settings = any_settings(parsed)
    part, output = PARTS[parsed.part], Path(settings.output).expanduser()
    plan = part.plan(Request(settings, parsed.size, parsed.compression))
    earlier = check_output(plan, output)
    console = new_console()
    with progress_bar(console, "preparing") as advance:
        outcome = prepare(
            plan,
            output,
            earlier,
            jobs=usable_cores() if parsed.jobs is None else parsed.jobs,
            keep_bad=settings.data.skip_bad,
            progress=advance,
        )
    labels = sum(len(one.labels) for one in plan.originals)
    report = PartReport(parsed.part, str(plan.base), len(plan.originals), labels, outcome.problems)
    wanted = sum(len(one.targets) for one in plan.originals) + len(plan.lists)
    left_out = wanted - len(outcome.files)
    for line in (
        *report_lines([report], parsed.show),
        *plan.notes,
        f"{output}: {outcome.written} files written, {len(outcome.files) - outcome.written} were "
        f"there, {left_out} left out",
        *(_NOT_WHOLE if left_out else _use(part, plan, settings, output)),
    ):
        say(console, line)
    return EXIT_ERROR if left_out else 0


_NOT_WHOLE = (
    "the copy is not whole, and splits of it would not be those of the original: put the files "
    "right and give the command again, or copy them as they are with --skip-bad",
)


def _use(part: Part, plan: Plan, settings: Settings, output: Path) -> list[str]:
    """What a training command needs to take the copy."""
    name = Path(plan.origin.root).name
    place = output / name if name in plan.lists else output
    height, width = plan.origin.size
    flags = f"use it with {part.root} {shlex.quote(str(place))}"
    set_size = f"--set {part.resize}=[{height},{width}]"
    its_size = part.its_size(settings)
    if its_size is None:  # images that keep their size have to be brought to it as well
        return [f"{flags} {set_size}"]
    if its_size == plan.origin.size:
        return [flags]
    return [
        f"{part.resize} is {its_size[0]}x{its_size[1]}, to which a loader still resizes; to train "
        f"at the size of the copy: {set_size}",
        flags,
    ]
