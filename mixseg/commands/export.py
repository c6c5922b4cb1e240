"""A trained network as a file that other programs run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mixseg.commands.inference import add_network_argument, input_size_of, load_saved
from mixseg.commands.parsing import Parser, size_type
from mixseg.errors import ConfigError
from mixseg.evaluation.export import (
    EXPORT_FORMATS,
    card_of,
    chosen_format,
    comparison_note,
    export_network,
    largest_difference,
)
from mixseg.files import check_unused, write_atomically
from mixseg.terminal import new_console, say

ABOUT = (
    "Write a trained network as one file that runs without mixseg, and FILE.json beside it with "
    "the names and colors of the classes. The program takes float32 RGB images in [0, 1], "
    "(B, 3, H, W), and returns logits (B, C, H, W); normalization is inside, H and W are fixed. It "
    "is compared with the network before it is written."
)


def export(arguments: Sequence[str]) -> int:
    """``mixseg export``."""
    parser = Parser("mixseg export", ABOUT)
    add = parser.add
    add("checkpoint", "a run's folder, or one of its checkpoints")
    output_help = "network.pt2, or network.onnx: the ending says the format"
    add("--output", output_help, required=True, metavar="FILE")
    add_network_argument(parser)
    size_help = "size of the images [data.resize of the run]"
    add("--size", size_help, size_type("--size"), metavar="HEIGHTxWIDTH")
    names = " or ".join(EXPORT_FORMATS)
    needs = "onnx needs pip install 'mixseg[export]'"
    add("--format", f"{names}; {needs} [that of the file's ending]")
    add("--overwrite", "replace files that exist", action="store_true")
    parsed = parser.read(arguments)

    output = Path(parsed.output).expanduser()
    form = chosen_format(output, parsed.format)
    card = output.with_name(f"{output.name}.json")
    check_unused([output, card], overwrite=parsed.overwrite)

    from mixseg.models import model_title

    console = new_console()
    saved = load_saved(parsed.checkpoint, parsed.network)
    size = parsed.size or input_size_of(saved)
    if size is None:
        raise ConfigError(
            "--size HEIGHTxWIDTH is missing: data.resize of the run is not set, so its images keep "
            "their own size, and the program has one size"
        )
    ((name, network),) = saved.networks.items()
    origin = {"run": saved.run_name, "step": saved.step, "network": name}
    about = card_of(network, saved.classes, size, form, origin)
    content = export_network(network, size, form, about)
    difference = largest_difference(network, content, size, form)
    write_atomically(output, content)
    write_atomically(card, about)
    for line in (
        f"{saved.run_name}, step {saved.step}: {name}, {model_title(network.spec)}, "
        f"{len(saved.classes)} classes, images of {size[0]}x{size[1]}",
        comparison_note(difference, form),
        f"written: {output} ({len(content) / 2**20:.1f} MiB), {card}",
    ):
        say(console, line)
    return 0
