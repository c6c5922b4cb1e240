"""``mixseg make-demo``: built-in scenes in the layout of a real data set."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixseg.commands.parsing import new_parser, parse
from mixseg.config.options import fields_of
from mixseg.config.sections import DemoSettings
from mixseg.config.values import FlagType, Size
from mixseg.scenes import LAYOUTS, Look, write_demo
from mixseg.terminal import new_console, progress_bar, say


def make_demo(arguments: Sequence[str]) -> int:
    """Write demo scenes; see ``--help``."""
    parser = new_parser(
        "mixseg make-demo", "Write built-in street scenes in the layout of a real data set."
    )
    limits = {one.path: one.allowed for one in fields_of(DemoSettings)}

    def add(flag: str, kind: Any, setting: str, default: object, text: str | None = None) -> None:
        limited = FlagType(flag, kind, limits[setting])
        parser.add_argument(flag, type=limited, default=default, help=text)

    parser.add_argument("--out", type=str, required=True, metavar="DIR")
    parser.add_argument("--layout", type=str, default="cityscapes", help=", ".join(LAYOUTS))
    parser.add_argument(
        "--look",
        choices=("render", "camera"),
        help="[render in the layouts of sources, gta5 and synthia; else camera]",
    )
    add("--images", int, "train_images", 240, "training scenes [240]")
    add("--val-images", int, "val_images", None, "[a quarter of --images]")
    add("--size", Size, "size", (128, 256), "height and width in pixels [128x256]")
    add("--seed", int, "seed", 0)
    parsed = parse(parser, arguments)
    # An unknown layout, and splits that a layout does not have, are refused by write_demo.
    is_source = parsed.layout in LAYOUTS and "val" not in LAYOUTS[parsed.layout].splits
    look: Look = parsed.look or ("render" if is_source else "camera")
    counts = {"train": parsed.images}
    if parsed.val_images is not None:
        counts["val"] = parsed.val_images
    elif not is_source:
        counts["val"] = max(1, parsed.images // 4)
    console = new_console()
    with progress_bar(console, "drawing") as advance:
        path = write_demo(
            Path(parsed.out),
            look=look,
            counts=counts,
            size=parsed.size,
            seed=parsed.seed,
            layout=parsed.layout,
            progress=advance,
        )
    shown = shlex.quote(str(path))
    use = f"train it with --dataset {parsed.layout} --data-root {shown}"
    if is_source:
        use = f"train with it by tools/train_uda.py --source {parsed.layout} --source-root {shown}"
        if parsed.size != DemoSettings().size:
            use += " --set data.crop=[HEIGHT,WIDTH], or scenes of the target in the same --size"
    say(console, f"{path}: {use}")
    return 0
