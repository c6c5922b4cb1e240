"""Built-in scenes in the layout of a real data set."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from mixseg.commands.parsing import Parser
from mixseg.config.sections import DemoSettings
from mixseg.scenes import LAYOUTS, Look, write_demo
from mixseg.terminal import new_console, progress_bar, say


def make_demo(arguments: Sequence[str]) -> int:
    """``mixseg make-demo``."""
    parser = Parser(
        "mixseg make-demo", "Write built-in street scenes in the layout of a real data set."
    )
    add, like = parser.add, parser.add_like
    add("--out", "folder for the files", required=True, metavar="DIR")
    add("--layout", ", ".join(LAYOUTS), default="cityscapes")
    like("--look", "demo.look", "[render in the layouts of sources, gta5 and synthia; else camera]")
    like("--images", "demo.train_images", "training scenes [240]", metavar="N", default=240)
    like("--val-images", "demo.val_images", "[a quarter of --images]", metavar="N")
    size_help, size = "height and width in pixels [128x256]", DemoSettings().size
    like("--size", "demo.size", size_help, metavar="HEIGHTxWIDTH", default=size)
    like("--seed", "demo.seed", "[0]", metavar="N", default=0)
    parsed = parser.read(arguments)
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
        use = f"train with it by mixseg uda --source {parsed.layout} --source-root {shown}"
        if parsed.size != size:
            use += " --set data.crop=[HEIGHT,WIDTH], or scenes of the target in the same --size"
    say(console, f"{path}: {use}")
    return 0
