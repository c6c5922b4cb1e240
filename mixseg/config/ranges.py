"""Values and combinations that cannot work, refused before any data is read."""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from typing import TYPE_CHECKING, Any

from mixseg.config.values import SEEDS, Range
from mixseg.errors import ConfigError

if TYPE_CHECKING:  # settings check themselves when they are made
    from mixseg.config.sections import Settings

WITHOUT_FILE = ("imagenet", "none")
"""Initial weights that are no path."""

__all__ = ["SEEDS", "WITHOUT_FILE", "Range"]


MOST_RATES = 32


@functools.cache
def ranges_of(section: Any) -> dict[str, Range]:
    """Field -> range of its numbers, of a settings class."""
    hints = typing.get_type_hints(section, include_extras=True)
    return {
        name: allowed
        for name, hint in hints.items()
        for allowed in getattr(hint, "__metadata__", ())
        if isinstance(allowed, Range)
    }


def check_numbers(section: Any, prefix: str = "") -> None:
    """Refuse numbers out of range, also those in the sections of a section.

    Args:
        section: An instance of a settings class.
        prefix: Comes before the names of its fields in messages.
    """
    kind: Any = type(section)
    for name, allowed in ranges_of(kind).items():
        value = getattr(section, name)
        if not allowed.holds(value):
            several = "numbers " if isinstance(value, list | tuple | dict) else ""
            raise ConfigError(f"{prefix}{name} must be {several}{allowed}, found {value}")
    for field in dataclasses.fields(section):
        if dataclasses.is_dataclass(inner := getattr(section, field.name)):
            check_numbers(inner, f"{prefix}{field.name}.")


def check_ranges(settings: Settings) -> None:
    """Refuse values and combinations that cannot work, before any data is read."""
    check_numbers(settings)
    _check_sizes(settings)
    _check_loss(settings)
    _check_model(settings)
    _check_domains(settings)
    _check_distillation(settings)
    _check_optimization(settings)
    _check_length(settings)
    _check_stages(settings)
    if settings.name is not None:
        check_run_name(settings.name)


def check_run_name(name: str) -> None:
    """Refuse the name of a run's folder that would lie elsewhere, or cannot be typed."""
    if not re.fullmatch(r"[\w.+=-]*\w[\w.+=-]*", name):
        raise ConfigError(f"name must consist of letters, digits and . _ + = -, found {name!r}")


def _check_sizes(settings: Settings) -> None:
    """Ranges of factors, and what sizes need."""
    data = settings.data
    intervals = {
        "data.scale": data.scale,
        "source_domain.scale": settings.source_domain.scale,
        "mixing.sigma": settings.mixing.sigma,
    }
    for path, interval in intervals.items():
        if interval is not None and interval[0] > interval[1]:
            raise ConfigError(f"{path} must be two numbers, low <= high, found {interval}")
    scales = {"data": data.scale, "source_domain": settings.source_domain.scale}
    step = data.scale_step
    for path, scale in scales.items():
        if scale is not None and not settings.crops:
            raise ConfigError(
                f"{path}.scale needs data.crop: scaled images differ in size and cannot share a "
                "batch"
            )
        if scale is not None and step is not None and not 0 < step <= scale[1] - scale[0]:
            raise ConfigError(
                f"data.scale_step must be above 0 and at most the length of {path}.scale {scale}, "
                f"found {step}"
            )
    if step is not None and not any(scales.values()):
        raise ConfigError("data.scale_step needs data.scale, of whose factors it is the step")
    if settings.validation.resolution == "input" and data.resize is None:
        raise ConfigError("validation.resolution: input needs data.resize")


def _check_loss(settings: Settings) -> None:
    """The supervised loss."""
    frequencies = settings.supervised_loss.frequencies
    if frequencies is not None and not any(frequencies.values()):
        raise ConfigError("supervised_loss.frequencies must have a class with a share above 0")


def _check_model(settings: Settings) -> None:
    """The network, its weights, and its average."""
    model = settings.model
    if model.output_stride not in (8, 16, 32):
        raise ConfigError(f"model.output_stride must be 8, 16 or 32, found {model.output_stride}")
    if not 1 <= len(model.rates) <= MOST_RATES:
        raise ConfigError(
            f"model.rates must be 1 to {MOST_RATES} dilations, found {len(model.rates)}"
        )
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
    if model.joint_forward and settings.method in ("supervised", "distillation"):
        raise ConfigError(
            f"model.joint_forward: there are no mixed images in method {settings.method}"
        )
    if model.weights_sha256 is not None:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", model.weights_sha256):
            raise ConfigError(
                f"model.weights_sha256 must be 64 hexadecimal digits, found {model.weights_sha256}"
            )
        if model.weights in WITHOUT_FILE:
            raise ConfigError("model.weights_sha256 needs model.weights to name a local file")
    if settings.teacher.mode == "eval" and settings.teacher.buffers == "own":
        raise ConfigError(
            "teacher.buffers own needs teacher.mode train: in eval mode nothing would update them. "
            "With teacher.mode eval set teacher.buffers to average"
        )


def _check_domains(settings: Settings) -> None:
    """One domain or two."""
    mixing = settings.mixing
    source_domain = settings.source_domain
    if settings.method == "domain_adaptation" and source_domain.dataset is None:
        raise ConfigError("method domain_adaptation needs source_domain.dataset: --source gta5")
    if settings.method == "semi_supervised" and source_domain.dataset is not None:
        raise ConfigError(
            "method semi_supervised has no source; use domain_adaptation (tools/train_uda.py), or "
            "leave source_domain.dataset out"
        )
    if settings.method == "domain_adaptation" and (mixing.mixer, mixing.domains) == (
        "none",
        "inter",
    ):
        raise ConfigError(
            "mixing.mixer none pastes whole source images, so that the target would never be seen; "
            "for the target as it is set mixing.domains intra as well"
        )
    if source_domain.dataset is None and source_domain.root is not None:
        raise ConfigError(
            "source_domain.root needs source_domain.dataset, to know how the folder is laid out"
        )


def _check_distillation(settings: Settings) -> None:
    """A teacher where there must be one, and only there."""
    distillation = settings.distillation
    if settings.method == "distillation" and distillation.teacher is None:
        raise ConfigError(
            "method distillation needs distillation.teacher, a run or a weight file: --teacher RUN"
        )
    if settings.method != "distillation" and distillation.teacher is not None:
        raise ConfigError(
            f"distillation.teacher does nothing with method {settings.method}; use tools/distill.py"
        )
    if distillation.holistic and settings.regularizer == "none":
        raise ConfigError(
            "distillation.holistic needs the discriminator of --regularizer adversarial-temperature"
        )


def _check_optimization(settings: Settings) -> None:
    """Arithmetic and momentum."""
    if settings.training.precision == "fp16" and settings.training.device == "cpu":
        raise ConfigError("training.precision fp16 needs a GPU; use bf16 or fp32 on a CPU")
    cycled = settings.schedule.momentum
    if cycled is not None and settings.schedule.name != "one-cycle":
        raise ConfigError(f"schedule.momentum does nothing with {settings.schedule.name}")
    if cycled is not None and cycled[0] > cycled[1]:
        raise ConfigError(f"schedule.momentum must be two numbers, low <= high, found {cycled}")


def _check_length(settings: Settings) -> None:
    """Warm-ups against the length of the run."""
    epochs, warmup_epochs = settings.training.epochs, settings.schedule.warmup_epochs
    if epochs is not None and warmup_epochs is not None and warmup_epochs >= epochs:
        raise ConfigError(
            f"schedule.warmup_epochs ({warmup_epochs}) must be below training.epochs ({epochs})"
        )
    # Otherwise steps are compared once the labelled images are counted.
    open_end = epochs is None and not settings.stages
    warmups = {"adversarial": settings.adversarial.warmup_steps} if open_end else {}
    if open_end and warmup_epochs is None:
        warmups["schedule"] = settings.schedule.warmup_steps
    for path, steps in warmups.items():
        if steps >= settings.training.iterations:
            raise ConfigError(
                f"{path}.warmup_steps ({steps}) must be below training.iterations "
                f"({settings.training.iterations})"
            )


def _check_stages(settings: Settings) -> None:
    """Refuse stages that cannot be, or that contradict the length of the run."""
    stages = settings.stages
    for number, stage in enumerate(stages, start=1):
        check_numbers(stage, f"stages: stage {number}: ")
    total = sum(stage.epochs for stage in stages)
    if stages and settings.training.epochs not in (None, total):
        raise ConfigError(
            f"stages: the {len(stages)} stages have {total} epochs together, training.epochs says "
            f"{settings.training.epochs}; leave it out, or make them equal"
        )
