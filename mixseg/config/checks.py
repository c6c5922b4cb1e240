"""Combinations of settings that cannot work in any run, refused before any data is read.

Types and ranges are checked where values are read; what concerns one part, when it is made.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mixseg.errors import ConfigError

if TYPE_CHECKING:  # settings check themselves when they are made
    from mixseg.config.sections import Settings

WITHOUT_FILE = ("imagenet", "none")
"""Initial weights that are no path."""


def check_settings_of_run(settings: Settings) -> None:
    """Refuse combinations that cannot work."""
    _check_sizes(settings)
    _check_model(settings)
    _check_length(settings)
    if settings.source_domain.dataset is None and settings.source_domain.root is not None:
        raise ConfigError(
            "source_domain.root needs source_domain.dataset, to know how the folder is laid out"
        )
    if settings.training.precision == "fp16" and settings.training.device == "cpu":
        raise ConfigError("training.precision fp16 needs a GPU; use bf16 or fp32 on a CPU")
    if settings.name is not None:
        check_run_name(settings.name)


def check_run_name(name: str) -> None:
    """Refuse the name of a run's folder that would lie elsewhere, or cannot be typed."""
    if not re.fullmatch(r"[\w.+=-]*\w[\w.+=-]*", name):
        raise ConfigError(f"name must consist of letters, digits and . _ + = -, found {name!r}")


def _check_sizes(settings: Settings) -> None:
    data = settings.data
    scales = {"data.scale": data.scale, "source_domain.scale": settings.source_domain.scale}
    step = data.scale_step
    for path, scale in scales.items():
        if scale is None:
            continue
        if scale[0] > scale[1]:
            raise ConfigError(f"{path} must be two numbers, low <= high, found {scale}")
        if not settings.crops:
            raise ConfigError(
                f"{path} needs data.crop: scaled images differ in size and cannot share a batch"
            )
        if step is not None and not 0 < step <= scale[1] - scale[0]:
            raise ConfigError(
                f"data.scale_step must be above 0 and at most the length of {path} {scale}, "
                f"found {step}"
            )
    if step is not None and not any(scales.values()):
        raise ConfigError("data.scale_step needs data.scale, of whose factors it is the step")
    if settings.validation.resolution == "input" and data.resize is None:
        raise ConfigError("validation.resolution: input needs data.resize")


def _check_model(settings: Settings) -> None:
    model = settings.model
    if model.output_stride not in (8, 16, 32):
        raise ConfigError(f"model.output_stride must be 8, 16 or 32, found {model.output_stride}")
    if model.weights == "none" and model.batch_norm != "train":
        raise ConfigError(
            f"model.batch_norm {model.batch_norm} needs pretrained weights; with model.weights "
            "none, where scales start at 0 or 1 and statistics are unknown, use train"
        )
    size = settings.data.crop or settings.data.resize
    if (
        model.batch_norm == "train"
        and size is not None
        and max(size) <= model.output_stride
        and 1 in (settings.data.batch_labeled, settings.data.batch_unlabeled)
    ):
        raise ConfigError(
            f"model.batch_norm train: {size[0]}x{size[1]} pixels at model.output_stride "
            f"{model.output_stride} are one value per channel, of which a batch of one image has "
            "no deviation. Take larger crops, more images, or a smaller stride"
        )
    if model.activation_checkpointing and settings.training.compile:
        raise ConfigError(
            "training.compile decides itself what is kept for the way back; leave "
            "model.activation_checkpointing or training.compile out"
        )
    if model.weights_sha256 is not None:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", model.weights_sha256):
            raise ConfigError(
                f"model.weights_sha256 must be 64 hexadecimal digits, found {model.weights_sha256}"
            )
        if model.weights in WITHOUT_FILE:
            raise ConfigError("model.weights_sha256 needs model.weights to name a local file")


def _check_length(settings: Settings) -> None:
    """Warm-ups and stages have to fit the length of the run."""
    epochs, warmup_epochs = settings.training.epochs, settings.schedule.warmup_epochs
    if epochs is not None and warmup_epochs is not None and warmup_epochs >= epochs:
        raise ConfigError(
            f"schedule.warmup_epochs ({warmup_epochs}) must be below training.epochs ({epochs})"
        )
    # With epochs, steps are compared once the labeled images are counted.
    if epochs is None and not settings.stages:
        # Parts with a schedule of their own have a warm-up, too.
        own = settings.options.items()
        warmups = {path: steps for path, steps in own if path.endswith(".warmup_steps")}
        if warmup_epochs is None:
            warmups["schedule.warmup_steps"] = settings.schedule.warmup_steps
        for path, steps in warmups.items():
            if steps >= settings.training.iterations:
                raise ConfigError(
                    f"{path} ({steps}) must be below training.iterations "
                    f"({settings.training.iterations})"
                )
    stages = settings.stages
    total = sum(stage.epochs for stage in stages)
    if stages and settings.training.epochs not in (None, total):
        raise ConfigError(
            f"stages: the {len(stages)} stages have {total} epochs together, training.epochs says "
            f"{settings.training.epochs}; leave it out, or make them equal"
        )
