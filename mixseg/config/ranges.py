"""Values and combinations that cannot work, refused before any data is read."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from mixseg.errors import ConfigError

if TYPE_CHECKING:  # settings check themselves when they are made
    from mixseg.config.sections import Settings

WITHOUT_FILE = ("imagenet", "none")
"""Initial weights that are no path."""


def check_ranges(settings: Settings) -> None:
    """Refuse values and combinations that cannot work, before any data is read."""
    _check_numbers(settings)
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
    check_seed(settings.seed)


def check_run_name(name: str) -> None:
    """Refuse the name of a run's folder that would lie elsewhere, or cannot be typed."""
    if not re.fullmatch(r"[\w.+=-]*\w[\w.+=-]*", name):
        raise ConfigError(f"name must consist of letters, digits and . _ + = -, found {name!r}")


def check_seed(seed: int) -> None:
    """Refuse a seed that no generator takes."""
    if seed < 0:
        raise ConfigError(f"seed must not be negative, found {seed}")
    if seed >= 2**63:
        raise ConfigError(f"seed must be below 2^63, found {seed}")


def _check_numbers(settings: Settings) -> None:
    """Numbers of which each has its own range."""
    data, mixing = settings.data, settings.mixing
    positive = {
        "data.batch_labeled": data.batch_labeled,
        "data.batch_unlabeled": data.batch_unlabeled,
        "demo.train_images": settings.demo.train_images,
        "demo.val_images": settings.demo.val_images,
        "optimizer.lr": settings.optimizer.lr,
        "optimizer.head_factor": settings.optimizer.head_factor,
        "training.iterations": settings.training.iterations,
        "training.accumulate": settings.training.accumulate,
        **(
            {}
            if settings.training.epochs is None
            else {"training.epochs": settings.training.epochs}
        ),
        "training.log_every": settings.training.log_every,
        "targets.ramp_steps": settings.targets.ramp_steps,
        "validation.batch_size": settings.validation.batch_size,
        "checkpoints.every": settings.checkpoints.every,
        "checkpoints.keep": settings.checkpoints.keep,
        "schedule.power": settings.schedule.power,
        "mixing.alpha": mixing.alpha,
        "adversarial.lr": settings.adversarial.lr,
        "adversarial.temperature_g": settings.adversarial.temperature_g,
        "adversarial.temperature_d": settings.adversarial.temperature_d,
        "distillation.temperature": settings.distillation.temperature,
    }
    for path, value in positive.items():
        if value <= 0:
            raise ConfigError(f"{path} must be above 0, found {value}")
    not_negative = {
        "demo.seed": settings.demo.seed,
        "data.workers": data.workers or 0,
        "data.split_seed": data.split_seed or 0,
        "supervised_loss.gamma": settings.supervised_loss.gamma,
        "supervised_loss.ohem_threshold": settings.supervised_loss.ohem_threshold,
        "optimizer.weight_decay": settings.optimizer.weight_decay,
        "schedule.warmup_steps": settings.schedule.warmup_steps,
        "schedule.warmup_epochs": settings.schedule.warmup_epochs or 0,
        "adversarial.alpha": settings.adversarial.alpha,
        "distillation.unlabeled": settings.distillation.unlabeled,
        "distillation.pairwise": settings.distillation.pairwise,
        "adversarial.warmup_steps": settings.adversarial.warmup_steps,
        "targets.unsupervised_weight": settings.targets.unsupervised_weight,
        "validation.every": settings.validation.every,
        "checkpoints.keep_every": settings.checkpoints.keep_every,
    }
    for path, value in not_negative.items():
        if value < 0:
            raise ConfigError(f"{path} must not be negative, found {value}")
    shares = {
        "supervised_loss.ohem_share": settings.supervised_loss.ohem_share,
        "mixing.proportion": mixing.proportion,
        "data.skip_bad_share": data.skip_bad_share,
        "targets.threshold": settings.targets.threshold,
        "augmentation.colour_jitter_probability": settings.augmentation.colour_jitter_probability,
        "augmentation.blur_probability": settings.augmentation.blur_probability,
        "targets.alignment_decay": settings.targets.alignment_decay,
        "teacher.decay": settings.teacher.decay,
        "distillation.alpha": settings.distillation.alpha,
        "optimizer.momentum": settings.optimizer.momentum,
    }
    for path, value in shares.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"{path} must lie in [0, 1], found {value}")
    if settings.optimizer.momentum == 1:
        raise ConfigError("optimizer.momentum must be below 1, found 1")
    if not all(0 <= beta < 1 for beta in settings.adversarial.betas):
        raise ConfigError(
            f"adversarial.betas must lie in [0, 1), found {settings.adversarial.betas}"
        )
    if not 0 <= settings.augmentation.colour_jitter <= 0.5:
        raise ConfigError(
            "augmentation.colour_jitter must lie in [0, 0.5], found "
            f"{settings.augmentation.colour_jitter}"
        )
    if not 0 <= data.rotate <= 180:
        raise ConfigError(f"data.rotate must lie in [0, 180] degrees, found {data.rotate}")
    if settings.optimizer.clip_norm is not None and settings.optimizer.clip_norm <= 0:
        raise ConfigError(
            f"optimizer.clip_norm must be above 0, found {settings.optimizer.clip_norm}"
        )


def _check_sizes(settings: Settings) -> None:
    """Heights and widths, and ranges of factors."""
    data = settings.data
    sizes = {
        "data.resize": data.resize,
        "data.crop": data.crop,
        "demo.size": settings.demo.size,
        "source_domain.resize": settings.source_domain.resize,
    }
    for path, size in sizes.items():
        if size is not None and min(size) < 32:
            raise ConfigError(f"{path} must be at least 32x32, found {size[0]}x{size[1]}")
    intervals = {
        "data.scale": data.scale,
        "source_domain.scale": settings.source_domain.scale,
        "mixing.sigma": settings.mixing.sigma,
    }
    for path, interval in intervals.items():
        if interval is not None and not 0 < interval[0] <= interval[1]:
            raise ConfigError(f"{path} must be two numbers, 0 < low <= high, found {interval}")
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
    loss = settings.supervised_loss
    if not 0 <= loss.label_smoothing < 1:
        raise ConfigError(
            f"supervised_loss.label_smoothing must lie in [0, 1), found {loss.label_smoothing}"
        )
    frequencies = loss.frequencies
    if frequencies is not None:
        for name, frequency in frequencies.items():
            if not (math.isfinite(frequency) and frequency >= 0):
                raise ConfigError(
                    "supervised_loss.frequencies must not be negative or infinite, found "
                    f"{frequency} for {name!r}"
                )
        if not any(frequencies.values()):
            raise ConfigError("supervised_loss.frequencies must have a class with a share above 0")


def _check_model(settings: Settings) -> None:
    """The network, its weights, and its average."""
    model = settings.model
    if model.output_stride not in (8, 16, 32):
        raise ConfigError(f"model.output_stride must be 8, 16 or 32, found {model.output_stride}")
    if not model.rates or min(model.rates) < 1:
        raise ConfigError(f"model.rates must be dilations of at least 1, found {model.rates}")
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
    if model.std is not None and min(model.std) <= 0:
        raise ConfigError(f"model.std must be above 0, found {model.std}")
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
    if cycled is not None and not 0 <= cycled[0] <= cycled[1] < 1:
        raise ConfigError(
            f"schedule.momentum must be two numbers, 0 <= low <= high < 1, found {cycled}"
        )


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
        name = f"stages: stage {number}:"
        for field_name in ("epochs", "batch", "lr_factor"):
            value = getattr(stage, field_name)
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"{name} {field_name} must be above 0, found {value}")
        if min(stage.crop) < 32:
            raise ConfigError(
                f"{name} crop must be at least 32x32, found {stage.crop[0]}x{stage.crop[1]}"
            )
    total = sum(stage.epochs for stage in stages)
    if stages and settings.training.epochs not in (None, total):
        raise ConfigError(
            f"stages: the {len(stages)} stages have {total} epochs together, training.epochs says "
            f"{settings.training.epochs}; leave it out, or make them equal"
        )
