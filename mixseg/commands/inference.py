"""What the commands that use a trained network share: flags, checkpoints, processes, folders."""

from __future__ import annotations

import functools
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from mixseg.commands.contract import Command
from mixseg.commands.parsing import ArgumentParser, Namespace, adder, height_and_width, size_type
from mixseg.config.values import Range
from mixseg.data.arrays import Size
from mixseg.distributed import by_first, joined
from mixseg.errors import ConfigError
from mixseg.evaluation.inference import LARGEST_SCALE, InferenceMode
from mixseg.training.precision import Precision, choose_precision, precision_to_apply
from mixseg.training.saved_network import SavedNetworks, load_networks

AskedPrecision = Literal["auto", "fp32", "bf16", "fp16"]
"""What ``--precision`` takes; auto is that of the run, where the device has it."""


def divided(command: Command) -> Command:
    """A command whose images are divided among the processes that torchrun starts."""

    @functools.wraps(command)
    def in_one_of_them(arguments: Sequence[str]) -> int:
        with joined():
            return command(arguments)

    return in_one_of_them


def add_inference_arguments(parser: ArgumentParser) -> None:
    """The flags that say which checkpoint predicts, where and how."""
    add = adder(parser)
    add("checkpoint", "a run's folder, or one of its checkpoints")
    resize_help = "size of the images for the network [data.resize of the run]"
    add("--resize", resize_help, metavar="HEIGHTxWIDTH|none")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored image")
    scales_help = "average over scales, for example 0.75,1,1.25 [1]"
    scales = Range(0.01, LARGEST_SCALE)
    add("--scales", scales_help, tuple[float, ...], scales, default=(1.0,))
    mode_help = "images at once, or by overlapping windows whose answers are averaged [whole]"
    add("--mode", mode_help, choices=("whole", "slide"), default="whole")
    window_help = "size of the sliding window [the training crop]"
    add("--window", window_help, size_type("--window"), metavar="HEIGHTxWIDTH")
    add("--device", "auto, cpu, cuda or cuda:N", default="auto")
    precision_help = "arithmetic; auto takes that of the run, where the hardware has it [auto]"
    add("--precision", precision_help, choices=typing.get_args(AskedPrecision), default="auto")


def load_saved(path: Path, which: str) -> SavedNetworks:
    """The networks; which they are, and what speaks against them, is printed."""
    saved = load_networks(path, which)
    saved.report("--network")
    return saved


def placed(
    network: nn.Module, device: torch.device, asked_for: AskedPrecision, saved: SavedNetworks
) -> Precision:
    """Move a network to the device, channels last; returns the precision that it runs in there."""
    network.to(device).to(memory_format=torch.channels_last)
    if asked_for == "auto":
        return precision_to_apply(saved.run, saved.settings["training.precision"], device, network)
    return choose_precision(asked_for, device, network)


def inference_mode(parsed: Namespace, saved: SavedNetworks) -> InferenceMode:
    """How images go through the network, as the flags say; a window as training cropped last.

    Raises:
        ConfigError: A flag is wrong, or the window has no size.
    """
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


def input_size_of(saved: SavedNetworks, asked_for: str | None = None) -> Size | None:
    """What images are resized to for the network: as asked for, else as in its training."""
    if asked_for is not None:
        return None if asked_for == "none" else height_and_width("--resize", asked_for)
    size = saved.settings.get("data.resize")
    return None if size is None else (size[0], size[1])


def new_folder(path: Path, flag: str) -> Path:
    """An empty folder, made by the first process.

    Raises:
        ConfigError: It holds something, or cannot be made; the message names ``flag``.
    """

    def make() -> None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ConfigError(f"{flag} {path}: exists and is not empty; nothing is overwritten")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{flag} {path}: cannot be made: {error.strerror}") from error

    by_first(make)
    return path
