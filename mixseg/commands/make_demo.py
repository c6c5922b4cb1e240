"""Built-in scenes in the layout of a real data set."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from mixseg.commands.parsing import new_parser, parse
from mixseg.config import DemoSettings, FlagType, Size, ranges_of
from mixseg.scenes import LAYOUTS, Look, write_demo
from mixseg.engine.progress import progress_bar
from mixseg.terminal import new_console, say


def make_demo(arguments: Sequence[str]) -> int:
    """Write demo scenes; see ``--help``."""
    parsed = parse(_demo_parser(), arguments)
    console = new_console()
    size = parsed.size
    is_source = parsed.layout in LAYOUTS and "val" not in LAYOUTS[parsed.layout].splits
    look: Look = parsed.look or ("render" if is_source else "camera")
    with progress_bar(console, "drawing") as advance:
        path = write_demo(
            Path(parsed.out),
            look=look,
            counts=_scenes_of_splits(parsed),
            size=size,
            seed=parsed.seed,
            layout=parsed.layout,
            progress=advance,
        )
    shown = shlex.quote(str(path))
    use = f"train it with --dataset {parsed.layout} --data-root {shown}"
    if is_source:
        use = f"train with it by tools/train_uda.py --source {parsed.layout} --source-root {shown}"
        if size != DemoSettings().size:
            use += " --set data.crop=[HEIGHT,WIDTH], or scenes of the target in the same --size"
    say(console, f"{path}: {use}")
    return 0


def _demo_parser() -> ArgumentParser:
    parser = new_parser(
        "mixseg make-demo", "Write built-in street scenes in the layout of a real data set."
    )
    limits = ranges_of(DemoSettings)
    parser.add_argument("--out", type=str, required=True, metavar="DIR")
    parser.add_argument("--layout", type=str, default="cityscapes", help=", ".join(LAYOUTS))
    parser.add_argument(
        "--look",
        type=Literal["render", "camera"] | None,
        help="[render in the layouts of sources, gta5 and synthia; else camera]",
    )
    parser.add_argument(
        "--images",
        type=FlagType("--images", int, limits["train_images"]),
        default=240,
        help="training scenes [240]",
    )
    parser.add_argument(
        "--val-images",
        dest="val_images",
        type=FlagType("--val-images", int, limits["val_images"]),
        help="[a quarter of --images]",
    )
    parser.add_argument(
        "--size",
        type=FlagType("--size", Size, limits["size"]),
        default=(128, 256),
        help="height and width in pixels [128x256]",
    )
    parser.add_argument("--seed", type=FlagType("--seed", int, limits["seed"]), default=0)
    return parser


def _scenes_of_splits(parsed: Namespace) -> dict[str, int]:
    """Split -> number of scenes; write_demo refuses splits that the layout does not have."""
    counts = {"train": parsed.images}
    if parsed.val_images is not None:
        counts["val"] = parsed.val_images
    elif parsed.layout in LAYOUTS and "val" in LAYOUTS[parsed.layout].splits:
        counts["val"] = max(1, parsed.images // 4)
    return counts
