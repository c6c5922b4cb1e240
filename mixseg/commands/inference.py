"""What the commands that use a trained network share: flags, and what follows from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mixseg.commands.parsing import ArgumentParser, Namespace, adder, size_type
from mixseg.config.values import Factors
from mixseg.data.arrays import Size
from mixseg.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mixseg.evaluation.inference import InferenceMode
    from mixseg.training.precision import Precision
    from mixseg.training.saved_network import SavedNetworks

EITHER = "[teacher or average, or the student where a checkpoint has neither]"
"""Help of a flag that chooses one network."""


def add_inference_arguments(parser: ArgumentParser) -> None:
    """The flags that say which checkpoint predicts, where and how."""
    add = adder(parser)
    add("checkpoint", "a run's folder, or one of its checkpoints")
    resize_help = "size of the images for the network [data.resize of the run]"
    add("--resize", resize_help, metavar="HEIGHTxWIDTH|none")
    add("--flip", "average with the mirrored image", action="store_true")
    scales_help = "average over scales, for example 0.75,1,1.25 [1]"
    add("--scales", scales_help, tuple[float, ...], Factors, default=(1.0,))
    mode_help = "images at once, or by overlapping windows whose answers are averaged [whole]"
    add("--mode", mode_help, choices=("whole", "slide"), default="whole")
    window_help = "size of the sliding window [the training crop]"
    add("--window", window_help, size_type("--window"), metavar="HEIGHTxWIDTH")
    add("--device", "auto, cpu, cuda or cuda:N", default="auto")
    precision_help = "arithmetic; auto takes that of the run, where the hardware has it [auto]"
    add("--precision", precision_help, choices=("auto", "fp32", "bf16", "fp16"), default="auto")


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
    if parsed.mode != "slide" and window:
        raise ConfigError("--window needs --mode slide")
    if parsed.mode == "slide" and not window:
        stages = saved.settings.get("stages") or ()
        crop = stages[-1]["crop"] if stages else saved.settings.get("data.crop")
        if not crop:
            raise ConfigError("--mode slide needs --window HEIGHTxWIDTH: training did not crop")
        window = (crop[0], crop[1])
    return InferenceMode(slide=window or None, flip=parsed.flip, scales=parsed.scales)


def input_size_of(saved: SavedNetworks, resize: str | None = None) -> Size | None:
    """What images are resized to: as ``--resize`` says, else as in training."""
    if resize is not None:
        size = None if resize == "none" else size_type("--resize")(resize)
    else:
        size = saved.settings.get("data.resize")
    return None if size is None else (size[0], size[1])


def placed(
    network: nn.Module,
    device: torch.device,
    precision: Literal["auto", "fp32", "bf16", "fp16"],
    saved: SavedNetworks,
) -> Precision:
    """Move a network to the device, channels last; returns the precision that it runs in there."""
    import torch

    from mixseg.training.precision import choose_precision, precision_to_apply

    network.to(device).to(memory_format=torch.channels_last)
    if precision == "auto":
        return precision_to_apply(saved.run, saved.settings["training.precision"], device, network)
    return choose_precision(precision, device, network)


def new_folder(path: Path, flag: str) -> Path:
    """An empty folder, made by the first process; errors name ``flag``."""
    from mixseg.distributed import by_first

    def make() -> None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ConfigError(f"{flag} {path}: exists and is not empty; nothing is overwritten")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{flag} {path}: cannot be made: {error.strerror}") from error

    by_first(make)
    return path
