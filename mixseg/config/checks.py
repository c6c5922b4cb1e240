"""Combinations of settings that cannot work in any run, refused before any data is read.

Types and ranges are checked where values are read; what concerns one part, when it is made.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mixseg.errors import ConfigError

if TYPE_CHECKING:  # settings check themselves when they are made
    from collections.abc import Mapping, Sequence

    from mixseg.config.sections import (
        DataSettings,
        ModelSettings,
        ScheduleSettings,
        SourceSettings,
        StageSettings,
        TrainingSettings,
    )
    from mixseg.config.values import Size

WITHOUT_FILE = ("imagenet", "none")
"""Initial weights that are no path."""


def check_run_name(name: str) -> None:
    """Refuse the name of a run's folder that would lie elsewhere, or cannot be typed."""
    if not re.fullmatch(r"[\w.+=-]*\w[\w.+=-]*", name):
        raise ConfigError(f"name must consist of letters, digits and . _ + = -, found {name!r}")


def check_scales(data: DataSettings, source: SourceSettings, *, crops: bool) -> None:
    """Refuse random scales that are no range, or whose images could not share a batch."""
    scales = {"data.scale": data.scale, "source_domain.scale": source.scale}
    step = data.scale_step
    for path, scale in scales.items():
        if scale is None:
            continue
        if scale[0] > scale[1]:
            raise ConfigError(f"{path} must be two numbers, low <= high, found {scale}")
        if not crops:
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


def check_model(model: ModelSettings, data: DataSettings, *, compiles: bool) -> None:
    """Refuse a network that cannot be trained so, or on crops of such a size."""
    if model.output_stride not in (8, 16, 32):
        raise ConfigError(f"model.output_stride must be 8, 16 or 32, found {model.output_stride}")
    if model.weights == "none" and model.batch_norm != "train":
        raise ConfigError(
            f"model.batch_norm {model.batch_norm} needs pretrained weights; with model.weights "
            "none, where scales start at 0 or 1 and statistics are unknown, use train"
        )
    size = data.crop or data.resize
    if (
        model.batch_norm == "train"
        and size is not None
        and max(size) <= model.output_stride
        and 1 in data.batches.values()
    ):
        raise ConfigError(
            f"model.batch_norm train: {size[0]}x{size[1]} pixels at model.output_stride "
            f"{model.output_stride} are one value per channel, of which a batch of one image has "
            "no deviation. Take larger crops, more images, or a smaller stride"
        )
    if model.activation_checkpointing and compiles:
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


def check_margin(options: Mapping[str, Any], sizes: Sequence[Size | None]) -> None:
    """Refuse margins that leave no pixel of images of one of these sizes; None is any size."""
    margin = options.get("targets.margin")
    if margin is None:
        return
    for size in sizes:
        for side, pair in zip(size or (None, None), (margin[:2], margin[2:]), strict=True):
            # As a share of the side; pixels of an unknown side may leave some.
            shares = (m if m < 1 else m / side if side is not None else 0.0 for m in pair)
            if sum(shares) >= 1:
                of = f"images of {size[0]}x{size[1]}" if size is not None else "an image"
                raise ConfigError(
                    f"targets.margin {','.join(f'{m:g}' for m in margin)} (top, bottom, left, "
                    f"right) leaves nothing of {of}, so that no pseudo-label would count"
                )


def check_terms(terms: Sequence[str]) -> None:
    """Refuse a term that is named twice, as if it then counted twice."""
    if twice := sorted({name for name in terms if terms.count(name) > 1}):
        raise ConfigError(
            f"terms: {', '.join(twice)} is named twice; to count it more, set its weight"
        )


def check_labeled_target(part: object, *, two_domains: bool) -> None:
    """Refuse labeled target images where nothing is a target; ``part`` is ``data.labeled_target``.

    Without a source the labels of the data are those of ``data.labeled``.
    """
    if part is not None and not two_domains:
        raise ConfigError(
            "data.labeled_target (--labeled-target) says which images of the target are labeled "
            "next to a source (mixseg uda --source NAME), and there is none: of one domain say "
            "--labeled"
        )


def check_labeled_flags(given: Mapping[str, Any], *, two_domains: bool) -> None:
    """Refuse flags about labels of the other number of domains; by setting path -> value."""
    if two_domains and "data.labeled" in given:
        raise ConfigError(
            "--labeled is for one domain. For labels of a part of the target: --labeled-target "
            "1/16; for a part of the source: --set source_domain.labeled=1/8"
        )
    check_labeled_target(given.get("data.labeled_target"), two_domains=two_domains)


def check_length(
    training: TrainingSettings,
    schedule: ScheduleSettings,
    stages: Sequence[StageSettings],
    options: Mapping[str, Any],
) -> None:
    """Refuse warm-ups and stages that do not fit the length of the run."""
    epochs, warmup_epochs = training.epochs, schedule.warmup_epochs
    if epochs is not None and warmup_epochs is not None and warmup_epochs >= epochs:
        raise ConfigError(
            f"schedule.warmup_epochs ({warmup_epochs}) must be below training.epochs ({epochs})"
        )
    # With epochs, steps are compared once the labeled images are counted.
    if epochs is None and not stages:
        # Parts with a schedule of their own have a warm-up, too.
        warmups = {path: n for path, n in options.items() if path.endswith(".warmup_steps")}
        if warmup_epochs is None:
            warmups["schedule.warmup_steps"] = schedule.warmup_steps
        for path, steps in warmups.items():
            if steps >= training.iterations:
                raise ConfigError(
                    f"{path} ({steps}) must be below training.iterations ({training.iterations})"
                )
    total = sum(stage.epochs for stage in stages)
    if stages and epochs not in (None, total):
        raise ConfigError(
            f"stages: the {len(stages)} stages have {total} epochs together, training.epochs says "
            f"{epochs}; leave it out, or make them equal"
        )
