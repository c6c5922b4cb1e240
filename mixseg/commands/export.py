"""``mixseg export``: a trained network as a file that other programs run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixseg.commands.inference import input_size_of, load_saved
from mixseg.commands.parsing import adder, new_parser, parse, size_type
from mixseg.data.arrays import Size
from mixseg.errors import ConfigError
from mixseg.evaluation.export import (
    CHECKED_BATCHES,
    EXPORT_FORMATS,
    INPUT,
    OUTPUT,
    chosen_format,
    export_network,
    largest_difference,
)
from mixseg.files import check_unused, write_atomically
from mixseg.models import model_title
from mixseg.terminal import new_console, say
from mixseg.training.saved_network import SavedNetworks


def export(arguments: Sequence[str]) -> int:
    """Export a network; see ``--help``."""
    parser = new_parser(
        "mixseg export",
        "Write a trained network as one file that runs without mixseg, and FILE.json beside it "
        "with the names and colors of the classes. The program takes float32 RGB images in [0, 1], "
        "(B, 3, H, W), and returns logits (B, C, H, W); normalization is inside, H and W are "
        "fixed. It is compared with the network before it is written.",
    )
    add = adder(parser)
    add("checkpoint", "a run's folder, or one of its checkpoints")
    output_help = "network.pt2, or network.onnx: the ending says the format"
    add("--output", output_help, required=True, metavar="FILE")
    network_help = "[teacher or average, or the student where a checkpoint has neither]"
    add("--network", network_help, choices=("student", "teacher", "average"))
    size_help = "size of the images [data.resize of the run]"
    add("--size", size_help, size_type("--size"), metavar="HEIGHTxWIDTH")
    names = " or ".join(EXPORT_FORMATS)
    needs = "onnx needs pip install 'mixseg[export]'"
    add("--format", f"{names}; {needs} [that of the file's ending]")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parsed = parse(parser, arguments)
    console = new_console()

    output = Path(parsed.output).expanduser()
    form = chosen_format(output, parsed.format)
    card = output.with_name(f"{output.name}.json")
    check_unused([output, card], overwrite=parsed.overwrite)
    saved = load_saved(Path(parsed.checkpoint), parsed.network or "either")
    size = parsed.size or input_size_of(saved)
    if size is None:
        raise ConfigError(
            "--size HEIGHTxWIDTH is missing: data.resize of the run is not set, so its images keep "
            "their own size, and the program has one size"
        )
    about = json.dumps(_about(saved, size, form), indent=1)
    ((name, network),) = saved.networks.items()
    content = export_network(network, size, form, about)
    difference = largest_difference(network, content, size, form)
    write_atomically(output, content)
    write_atomically(card, about)
    if difference is None:
        runtime = EXPORT_FORMATS[form].runtime
        compared = f"not compared with the network: {runtime} is not installed"
    else:
        compared = (
            f"logits of the file and of the network differ by at most {difference:.2g} "
            f"(random images, batches of {' and '.join(map(str, CHECKED_BATCHES))})"
        )
    for line in (
        f"{saved.run_name}, step {saved.step}: {name}, {model_title(network.spec)}, "
        f"{len(saved.classes)} classes, images of {size[0]}x{size[1]}",
        compared,
        f"written: {output} ({len(content) / 2**20:.1f} MiB), {card}",
    ):
        say(console, line)
    return 0


def _about(saved: SavedNetworks, size: Size, form: str) -> dict[str, Any]:
    """What somebody has to know who has only the file; JSON."""
    ((name, network),) = saved.networks.items()
    classes = saved.classes
    return {
        "format": form,
        "run": saved.run_name,
        "step": saved.step,
        "network": name,
        "model": model_title(network.spec),
        "input": {
            "name": INPUT,
            "layout": "BCHW",
            "dtype": "float32",
            "channels": "RGB",
            "range": [0.0, 1.0],
            "batch": "any",
            "size": list(size),
            "normalisation": "inside",
        },
        "output": {"name": OUTPUT, "layout": "BCHW", "dtype": "float32", "values": "logits"},
        "classes": {
            "names": list(classes.names),
            "palette": [list(color) for color in classes.palette],
            "label_ids": list(classes.label_ids),
        },
    }
