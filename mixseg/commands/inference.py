"""What the commands that use a trained network share: flags, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixseg.commands.parsing import SIDES, Namespace, Parser, size_type
from mixseg.config.values import NETWORKS, Factors, FlagType, Size
from mixseg.errors import ConfigError

if TYPE_CHECKING:
    from mixseg.evaluation.inference import InferenceMode
    from mixseg.training.saved_network import SavedNetworks

OF_RUN = ()
"""Stands for the size that a run trained with, where no size and none mean something else."""


def add_inference_arguments(parser: Parser) -> None:
    """The flags that say which checkpoint predicts, where and how."""
    add = parser.add
    add("checkpoint", "a run's folder, or one of its checkpoints")
    resize_help = "size of the images for the network [data.resize of the run]"
    resize = FlagType("--resize", Size | None, SIDES)
    add("--resize", resize_help, resize, default=OF_RUN, metavar="HEIGHTxWIDTH|none")
    add("--flip", "average with the mirrored image", action="store_true")
    scales_help = "average over scales, for example 0.75,1,1.25 [1]"
    add("--scales", scales_help, tuple[float, ...], Factors, default=(1.0,))
    mode_help = "images at once, or by overlapping windows whose answers are averaged [whole]"
    add("--mode", mode_help, choices=("whole", "slide"), default="whole")
    window_help = "size of the sliding window [the training crop]"
    add("--window", window_help, size_type("--window"), metavar="HEIGHTxWIDTH")
    add("--device", "auto, cpu, cuda or cuda:N", default="auto")
    precision_help = "arithmetic; auto takes that of the run, where the hardware has it [auto]"
    parser.add_like("--precision", "training.precision", precision_help, default="auto")


def add_network_argument(parser: Parser) -> None:
    """The flag that chooses one network."""
    either = "[teacher or average, or the student where a checkpoint has neither]"
    parser.add("--network", either, choices=NETWORKS)


def read_inference(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Parse; windows belong to one mode."""
    parsed = parser.read(arguments)
    if parsed.window and parsed.mode != "slide":
        raise ConfigError("--window needs --mode slide")
    return parsed


def load_saved(checkpoint: str, network: str | None) -> SavedNetworks:
    """The networks of a run or checkpoint; messages say which were taken."""
    from mixseg.training.saved_network import load_networks

    saved = load_networks(Path(checkpoint), network or "either")
    saved.report("--network")
    return saved


def inference_mode(parsed: Namespace, saved: SavedNetworks) -> InferenceMode:
    """How images go through the network; by default a window is as large as the training crop."""
    from mixseg.evaluation.inference import InferenceMode

    window: Size | None = parsed.window
    if parsed.mode == "slide" and not window:
        window = saved.crop
        if window is None:
            raise ConfigError("--mode slide needs --window HEIGHTxWIDTH: training did not crop")
    return InferenceMode(slide=window or None, flip=parsed.flip, scales=parsed.scales)


def input_size_of(saved: SavedNetworks, resize: Any = OF_RUN) -> Size | None:
    """What images are resized to: as ``--resize`` says, else as in training."""
    size = saved.settings.get("data.resize") if resize == OF_RUN else resize
    return None if size is None else (size[0], size[1])
