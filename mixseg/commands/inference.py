"""What commands that use a trained network share: flags, networks, output folders."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser, Namespace
from rich.console import Console

from mixseg.commands.contract import Command
from mixseg.commands.parsing import height_and_width
from mixseg.distributed import by_first, joined, world
from mixseg.engine.saved_network import SavedNetworks, load_networks
from mixseg.errors import ConfigError
from mixseg.evaluation.inference import InferenceMode


def divided(command: Command) -> Command:
    """A command whose images are divided among the processes that torchrun starts."""

    @functools.wraps(command)
    def in_one_of_them(arguments: Sequence[str]) -> int:
        with joined():
            return command(arguments)

    return in_one_of_them


def console_of_first() -> Console:
    """Where people read; of several processes the first one speaks."""
    return Console(quiet=world().rank > 0)


def add_inference_arguments(parser: ArgumentParser) -> None:
    """The flags that say which checkpoint predicts, where and how."""
    parser.add_argument("checkpoint", type=str, help="a run's folder, or one of its checkpoints")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored image")
    parser.add_argument(
        "--scales", type=str, default="1", help="average over scales, for example 0.75,1,1.25"
    )
    parser.add_argument("--mode", type=Literal["whole", "slide"], default="whole")
    parser.add_argument(
        "--window", type=str, help="HEIGHTxWIDTH of the sliding window [the training crop]"
    )
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", type=Literal["auto", "fp32", "bf16", "fp16"], default="auto")


def load_saved(path: Path, which: str, console: Console) -> SavedNetworks:
    """The networks, with a word on damaged checkpoints that are not the ones meant."""
    saved = load_networks(path, which)
    saved.say_problems(console)
    return saved


def inference_mode(parsed: Namespace, saved: SavedNetworks) -> InferenceMode:
    """How images go through the network; a sliding window is by default the training crop.

    Raises:
        ConfigError: A flag is wrong, or the window is missing.
    """
    try:
        scales = tuple(float(scale) for scale in parsed.scales.split(","))
    except ValueError as error:
        raise ConfigError(
            f"--scales {parsed.scales}: expected numbers such as 0.75,1,1.25"
        ) from error
    window = None
    if parsed.mode == "slide":
        stages = saved.settings.get("stages") or ()
        crop = stages[-1]["crop"] if stages else saved.settings.get("data.crop")
        if parsed.window:
            window = height_and_width("--window", parsed.window)
        elif crop:
            window = (crop[0], crop[1])
        else:
            raise ConfigError("--mode slide needs --window HEIGHTxWIDTH: training did not crop")
    elif parsed.window:
        raise ConfigError("--window needs --mode slide")
    return InferenceMode(slide=window, flip=parsed.flip, scales=scales)


def input_size_of(saved: SavedNetworks, asked_for: str | None = None) -> tuple[int, int] | None:
    """What images are resized to for the network: as asked for, else as in its training."""
    if asked_for is not None:
        return None if asked_for == "none" else height_and_width("--resize", asked_for)
    size = saved.settings.get("data.resize")
    return None if size is None else (size[0], size[1])


def new_folder(path: Path, flag: str) -> Path:
    """An empty folder, made by the first process."""
    by_first(lambda: _made(path, flag))
    return path


def _made(path: Path, flag: str) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{flag} {path}: exists and is not empty; nothing is overwritten")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{flag} {path}: cannot be made: {error.strerror}") from error
