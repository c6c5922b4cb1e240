"""Typed settings: documented dataclasses, filled from YAML files and then from flags.

Defaults are the thesis' values for semi-supervised Cityscapes (methods.md); presets under
``configs/`` state where they depart. A setting is known by its path, for example
``optimizer.lr``, in YAML, in ``--set optimizer.lr=1e-3`` and as the flag ``--optimizer.lr 1e-3``.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import typing
from argparse import ArgumentError
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import yaml
from docstring_parser import parse_from_object
from jsonargparse import ArgumentParser, Namespace

from mixseg.errors import ConfigError, unknown_name
from mixseg.strict_yaml import KeyPath, LoadedYaml, load_yaml, parse_yaml

Size = tuple[int, int]


@final
@dataclass(frozen=True)
class DataSettings:
    """Where images come from, how they are split and how they are augmented."""

    dataset: str = "demo"
    """Layout of the data: demo, cityscapes, voc, camvid, gta5, synthia or folder."""
    root: str | None = None
    """Folder of the data set; the demo writes its own when none is given."""
    train_split: str = "train"
    """Split that labelled and unlabelled images are taken from."""
    val_split: str = "val"
    """Split for validation."""
    labeled: str = "1/8"
    """Labelled part of the training split: a fraction, a number, full, a list file, a pair of list
    files joined by a comma, or FILE.pkl@1/8 for a published permutation."""
    unlabeled: str | None = None
    """Folder or list file of unlabelled images; by default the rest of the training split."""
    split_seed: int | None = None
    """Seed of the labelled/unlabelled split; by default the seed of the run."""
    resize: Size | None = None
    """Height and width that every image is resized to first, also in validation."""
    scale: tuple[float, float] | None = None
    """Range of the random scale factor, applied before cropping."""
    rotate: float = 0.0
    """Largest angle in degrees, up to 180, by which images of both domains are turned about their
    middle, either way; 0 is off. What lies outside has the mean colour and the label 255."""
    crop: Size | None = None
    """Height and width of the random crop; smaller images are padded (label 255)."""
    flip: bool = False
    """Mirror half of the images left to right."""
    batch_labeled: int = 2
    """Labelled images per step."""
    batch_unlabeled: int = 2
    """Unlabelled images per step; they are mixed with each other."""
    workers: int | None = None
    """Loader processes per stream; by default chosen from the number of cores."""


@final
@dataclass(frozen=True)
class SourceSettings:
    """Labelled renderings for domain adaptation; ``data`` is then the target, without labels."""

    dataset: str | None = None
    """Layout of the source: gta5, synthia, demo, or any other."""
    root: str | None = None
    """Folder of the source; without one it is the built-in scenes of the other look, written in
    its layout."""
    split: str = "train"
    """Split of the source."""
    labeled: str = "full"
    """Part of the source that is used, as data.labeled."""
    resize: Size | None = None
    """Height and width that every source image is resized to first."""
    scale: tuple[float, float] | None = None
    """Range of the random scale factor of source images."""
    class_map: str | None = None
    """YAML file that says which class of the target each class of the source is; by default a
    built-in map."""


@final
@dataclass(frozen=True)
class DemoSettings:
    """The built-in scenes that serve as data when no root is given."""

    look: Literal["render", "camera"] = "camera"
    """Appearance: a rendered game or a photograph."""
    train_images: int = 240
    """Number of training scenes."""
    val_images: int = 60
    """Number of validation scenes."""
    size: Size = (128, 256)
    """Height and width in pixels."""
    seed: int = 0
    """Seed of the scenes; it does not depend on the seed of the run."""


@final
@dataclass(frozen=True)
class ModelSettings:
    """The segmentation network and the weights it starts from."""

    architecture: str = "deeplabv2"
    """Name of the architecture: deeplabv2, fcn32s, fcn16s, fcn8s or enet; enet is a whole network
    and needs model.backbone none, model.weights none and model.batch_norm train."""
    backbone: str = "resnet101"
    """Any timm model that offers features, without its weight tag; none for enet."""
    output_stride: int = 8
    """Input size over size of the last feature map: 8, 16 or 32; FCN works at 32."""
    rates: tuple[int, ...] = (6, 12, 18, 24)
    """Dilations of the atrous convolutions of DeepLabv2's head, in feature pixels."""
    upsampling: Literal["bilinear", "learnt"] = "bilinear"
    """How logits are enlarged: bilinear interpolation, or transposed convolutions that start as it
    and are trained."""
    align_corners: bool = True
    """Whether bilinear interpolation aligns the centres of corner pixels; true in the published
    code. Learnt upsampling starts from aligned edges, as false does."""
    batch_norm: Literal["train", "affine-frozen", "frozen"] = "affine-frozen"
    """Backbone batch norm: all trained; scale and shift fixed as in the published code; or
    statistics fixed as well."""
    weights: str = "imagenet"
    """Initial weights: imagenet (timm's, downloaded), none, or a local .safetensors/.pth file of
    backbone weights or of the original DeepLabv2 checkpoint."""
    weights_sha256: str | None = None
    """Expected SHA-256 of the weight file, 64 hexadecimal digits; checked before loading."""
    mean: tuple[float, float, float] | None = None
    """Mean of the RGB input in [0, 1]; by default the one the backbone was trained with."""
    std: tuple[float, float, float] | None = None
    """Deviation of the RGB input in [0, 1]; by default the one the backbone was trained with."""
    channel_order: Literal["rgb", "bgr"] | None = None
    """Order in which channels enter the network; by default bgr for an original DeepLabv2
    checkpoint, else rgb."""


@final
@dataclass(frozen=True)
class MixingSettings:
    """How two unlabelled images become one."""

    mixer: str = "classmix"
    """classmix, cutmix, cowmix or none."""
    proportion: float = 0.5
    """Share that is kept of the image that is pasted: of its classes (ClassMix), of its area
    (CutMix), of its pixels on average (CowMix)."""
    rounding: Literal["ceil", "floor"] = "ceil"
    """ClassMix: rounding of proportion times classes; Algorithm 1 rounds up, the published
    semi-supervised code down."""
    domains: Literal["inter", "intra"] = "inter"
    """domain_adaptation: source classes onto target images (InterMix), or target images among
    themselves (IntraMix)."""
    sigma: tuple[float, float] = (8.0, 32.0)
    """CowMix: log-uniform range of the smoothing in pixels of a 512x1024 image."""


ALIGNMENTS = ("none", "uniform", "labeled", "target")
"""Words that ``targets.alignment`` knows; anything else is a file."""


@final
@dataclass(frozen=True)
class TargetSettings:
    """What the student is to agree with on unlabelled images, and how much it counts."""

    kind: Literal["hard", "soft"] = "hard"
    """Pseudo-labels (2.11) or the teacher's whole distribution."""
    weighting: str = "threshold-proportional"
    """threshold-proportional (2.15), pixelwise (2.14), sigmoid (2.13) or constant."""
    threshold: float = 0.968
    """Confidence above which a pixel counts as confident (tau)."""
    per: Literal["batch", "image"] = "batch"
    """Threshold-proportional: one share for the batch, or one for each mixed image."""
    ramp_steps: int = 10_000
    """Sigmoid: step at which the ramp reaches 1 (k_max)."""
    unsupervised_weight: float = 1.0
    """Factor of the whole consistency loss (lambda_u0)."""
    consistency: str = "cross-entropy"
    """cross-entropy or squared-error (2.1)."""
    alignment: str = "none"
    """Distribution alignment (2.5.6) of pseudo-labels: none, uniform, labeled (as the labelled
    images have it), target (as the labels of the unlabelled images have it, for studies), or a
    YAML file of class names and shares."""
    alignment_decay: float = 0.99
    """Averaging factor of the teacher's answers in distribution alignment."""


@final
@dataclass(frozen=True)
class AugmentationSettings:
    """Strong augmentation of the mixed image; off in the thesis' default."""

    colour_jitter: float = 0.0
    """Strength of brightness, contrast, saturation and hue changes; 0 is off, the thesis' extra
    augmentations use 0.25."""
    colour_jitter_probability: float = 0.5
    """Share of batches that are jittered; 0.8 in the published adaptation code."""
    blur: bool = False
    """Gaussian blur with sigma uniform in [0.15, 1.15]."""
    blur_probability: float = 0.5
    """Share of batches that are blurred."""


@final
@dataclass(frozen=True)
class TeacherSettings:
    """The moving average of the student."""

    decay: float = 0.99
    """Upper limit of the averaging factor (alpha)."""
    mode: Literal["train", "eval"] = "train"
    """Batch norm of the teacher while it labels: batch statistics as in the published code, or
    averaged ones. Without meaning for supervised training, whose average labels nothing."""
    buffers: Literal["average", "own"] = "average"
    """Batch-norm statistics: averaged like the weights, or the teacher's own running ones as in
    the published code."""


@final
@dataclass(frozen=True)
class AdversarialSettings:
    """The adversarial temperature regularizer; in force with ``regularizer:
    adversarial-temperature``."""

    alpha: float = 0.05
    """Weight of what the discriminator thinks of the student's maps; 0.1 for FCN-8s on
    Cityscapes."""
    temperature_g: float = 1.0
    """Temperature of the softmax in the segmentation and adversarial losses (T_g)."""
    temperature_d: float = 1.0
    """Temperature of the softmax maps that the discriminator learns from (T_d)."""
    loss: str = "lsgan"
    """lsgan or dcgan (Table 3-1)."""
    lr: float = 1e-7
    """Learning rate of the discriminator: 1e-7 for FCN-8s, 5e-8 for ResNet-50."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Averaging factors of its Adam optimizer."""
    schedule: str = "same"
    """Schedule of its learning rate: same (as the student's), poly, cosine, one-cycle or
    constant."""
    warmup_steps: int = 0
    """Steps of linear warm-up of a schedule of its own."""
    unlabeled: bool = False
    """Take the student's maps of mixed unlabelled images for fakes too."""


@final
@dataclass(frozen=True)
class OptimizerSettings:
    """Optimizer of the student."""

    name: str = "sgd"
    """sgd or adamw."""
    lr: float = 2.5e-4
    """Learning rate of the backbone."""
    head_factor: float = 10.0
    """Learning rate of the head, as a multiple of the backbone's."""
    momentum: float = 0.9
    """Momentum of sgd; beta_1 of adamw."""
    weight_decay: float = 5e-4
    """Weight decay of every trained parameter."""
    clip_norm: float | None = None
    """Largest norm of the gradient; by default it is not clipped."""


@final
@dataclass(frozen=True)
class ScheduleSettings:
    """Factor of the learning rate as a function of the step."""

    name: str = "poly"
    """poly, cosine, one-cycle or constant."""
    power: float = 0.9
    """Exponent of poly."""
    warmup_steps: int = 0
    """Steps of linear warm-up before poly, cosine and constant."""
    warmup_epochs: float | None = None
    """Warm-up in passes over the labelled images, parts of one included; schedule.warmup_steps then
    follows from it, by the rules of training.epochs."""


@final
@dataclass(frozen=True)
class TrainingSettings:
    """Length and arithmetic of a run."""

    iterations: int = 40_000
    """Optimizer steps."""
    epochs: int | None = None
    """Length in passes over the labelled images (of the source, with two domains), each of
    ceil(images / (data.batch_labeled * training.accumulate)) steps; training.iterations then
    follows from it. Iterations in a later file or flag replace epochs of an earlier one; in one
    file epochs count. Intervals stay in steps."""
    accumulate: int = 1
    """Batches per optimizer step; the effective batch is this many times larger."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the forward pass; auto takes bf16 where the hardware has it."""
    channels_last: bool = True
    """Memory layout of images and weights; faster on current hardware."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    tensorboard: bool = False
    """Write TensorBoard files too (pip install 'mixseg[tensorboard]')."""


@final
@dataclass(frozen=True)
class ValidationSettings:
    """When and how the networks are evaluated during training."""

    every: int = 2000
    """Steps between validations; 0 evaluates at the end only."""
    resolution: Literal["native", "input"] = "native"
    """Size at which labels are compared: that of the files, or data.resize as in the published
    code."""
    batch_size: int = 1
    """Images per forward pass."""


@final
@dataclass(frozen=True)
class CheckpointSettings:
    """What is kept of a run."""

    every: int = 1000
    """Steps between checkpoints; the last step always writes one."""
    keep: int = 2
    """Number of latest checkpoints that are kept; with two, one may be damaged."""
    keep_every: int = 0
    """Checkpoints at multiples of this step are kept for good; 0 keeps none."""


@final
@dataclass(frozen=True)
class Settings:
    """Everything that defines a run."""

    method: str = "semi_supervised"
    """supervised, semi_supervised or domain_adaptation."""
    regularizer: str = "none"
    """none or adversarial-temperature; goes with any method."""
    seed: int = 0
    """Seed of the split, the initial head, sampling, augmentation and mixing."""
    output: str = "runs"
    """Folder in which the run gets a folder of its own."""
    name: str | None = None
    """Name of the run's folder; by default made from the settings and the time."""
    data: DataSettings = field(default_factory=DataSettings)
    """Data."""
    source_domain: SourceSettings = field(default_factory=SourceSettings)
    """Source domain."""
    demo: DemoSettings = field(default_factory=DemoSettings)
    """Built-in scenes."""
    model: ModelSettings = field(default_factory=ModelSettings)
    """Network."""
    mixing: MixingSettings = field(default_factory=MixingSettings)
    """Mixing."""
    targets: TargetSettings = field(default_factory=TargetSettings)
    """Targets."""
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    """Strong augmentation."""
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    """Mean teacher."""
    adversarial: AdversarialSettings = field(default_factory=AdversarialSettings)
    """Adversarial temperature regularizer."""
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    """Optimizer."""
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    """Schedule."""
    training: TrainingSettings = field(default_factory=TrainingSettings)
    """Training."""
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    """Validation."""
    checkpoints: CheckpointSettings = field(default_factory=CheckpointSettings)
    """Checkpoints."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def two_domains(self) -> bool:
        """Whether labelled images come from a source domain."""
        return self.source_domain.dataset is not None

    @property
    def split_seed(self) -> int:
        """Seed of the labelled/unlabelled split."""
        return self.seed if self.data.split_seed is None else self.data.split_seed

    @property
    def temperature(self) -> float:
        """Temperature of the softmax in the method's losses; 1 without a regularizer."""
        adversarial = self.regularizer == "adversarial-temperature"
        return self.adversarial.temperature_g if adversarial else 1.0


@final
@dataclass(frozen=True)
class Setting:
    """One leaf of the settings: its path, type, default and documentation."""

    path: str
    hint: Any
    default: Any
    help: str


@functools.cache
def settings_leaves() -> tuple[Setting, ...]:
    """All settings with their paths, in the order in which they are documented."""
    return tuple(_leaves(Settings, Settings(), ""))


def _leaves(kind: type[Any], instance: Any, prefix: str) -> Iterator[Setting]:
    documents = {entry.args[1]: entry.description or "" for entry in parse_from_object(kind).params}
    hints = typing.get_type_hints(kind)
    for entry in dataclasses.fields(kind):
        value = getattr(instance, entry.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(type(value), value, f"{prefix}{entry.name}.")
        else:
            text = " ".join(documents[entry.name].split())
            yield Setting(prefix + entry.name, hints[entry.name], value, text)


SHORT_FLAGS: dict[str, str] = {
    "labeled": "data.labeled",
    "unlabeled": "data.unlabeled",
    "dataset": "data.dataset",
    "data-root": "data.root",
    "workers": "data.workers",
    "backbone": "model.backbone",
    "weights": "model.weights",
    "source": "source_domain.dataset",
    "source-root": "source_domain.root",
    "mixer": "mixing.mixer",
    "domains": "mixing.domains",
    "alignment": "targets.alignment",
    "weighting": "targets.weighting",
    "consistency": "targets.consistency",
    "iterations": "training.iterations",
    "epochs": "training.epochs",
    "precision": "training.precision",
    "device": "training.device",
    "lr": "optimizer.lr",
}
"""Short spellings of the settings that are changed most often."""

IN_EPOCHS: dict[str, str] = {
    "training.iterations": "training.epochs",
    "schedule.warmup_steps": "schedule.warmup_epochs",
}
"""Numbers of steps -> the setting from which they follow where it is given."""


def add_settings_arguments(parser: ArgumentParser) -> None:
    """Give a parser one typed flag for each setting.

    Flags default to None so that what was typed can be told from what was not.
    """
    short = {path: f"--{name}" for name, path in SHORT_FLAGS.items()}
    for leaf in settings_leaves():
        names = [f"--{leaf.path}"]
        if leaf.path in short:
            names.insert(0, short[leaf.path])
        shown = "none" if leaf.default is None else leaf.default
        parser.add_argument(
            *names,
            dest=leaf.path,
            type=typing.Optional[leaf.hint],  # noqa: UP045  # a union with a runtime type
            default=None,
            help=f"{leaf.help} [{shown}]".replace("%", "%%"),
        )


def resolve_settings(files: list[Path], overrides: Mapping[str, Any]) -> Settings:
    """Defaults, then each file, then overrides.

    Args:
        files: YAML files; later ones win.
        overrides: Setting path -> value, for example from flags.

    Raises:
        ConfigError: A key is unknown or duplicate, a value has the wrong type or range, or
            settings contradict each other. File, line and the closest name are in the message.
    """
    leaves = {leaf.path: leaf for leaf in settings_leaves()}
    values = {path: leaf.default for path, leaf in leaves.items()}
    origins: dict[str, str] = {}
    for path in files:
        loaded = load_yaml(path)
        given = dict(_flatten(loaded, leaves))
        _replace_epochs(given, values)
        for key, value in given.items():
            line = loaded.line(tuple(key.split(".")))
            origins[key] = f"{path}, line {line}"
            values[key] = _typed(leaves[key], value, origins[key])
    _replace_epochs(overrides, values)
    for key, value in overrides.items():
        if key not in leaves:
            raise ConfigError(unknown_name("setting", key, leaves))
        origins[key] = f"--{key}"
        values[key] = _typed(leaves[key], value, origins[key])
    try:
        settings: Settings = _build(Settings, values, "")
        return settings
    except ConfigError as error:
        # A range check names the setting; where it came from helps to find it.
        named = set(re.findall(r"[\w.]+", str(error)))
        blamed = [where for key, where in origins.items() if key in named]
        raise ConfigError(f"{error} ({'; '.join(blamed)})" if blamed else str(error)) from error


def _replace_epochs(given: Mapping[str, Any], values: dict[str, Any]) -> None:
    """Forget epochs of an earlier place where this one gives steps: the later of the two counts."""
    for steps, epochs in IN_EPOCHS.items():
        if steps in given and epochs not in given:
            values[epochs] = None


def _flatten(loaded: LoadedYaml, leaves: Mapping[str, Setting]) -> Iterator[tuple[str, Any]]:
    """Key paths and values of a file; refuses what is not a setting, naming line and neighbour."""
    sections = {path.rsplit(".", 1)[0] for path in leaves if "." in path}
    pending: list[tuple[KeyPath, Any]] = [((key,), value) for key, value in loaded.data.items()]
    for key_path, value in pending:
        key = ".".join(str(part) for part in key_path)
        where = f"{loaded.path}, line {loaded.line(key_path)}"
        if key in leaves:
            yield key, value
        elif key in sections:
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: {key} is a section; give its settings below it")
            pending.extend(((*key_path, name), inner) for name, inner in value.items())
        else:
            scope = key.rsplit(".", 1)[0] + "." if "." in key else ""
            depth = scope.count(".")
            near = {path for path in leaves if path.startswith(scope) and path.count(".") == depth}
            near |= set() if scope else sections
            raise ConfigError(f"{where}: {unknown_name('setting', key, near)}")


def _typed(leaf: Setting, value: Any, origin: str) -> Any:
    """A value checked and converted by its type hint."""
    numbers = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
        raise ConfigError(f"{origin}: {leaf.path} must be a finite number, found {value}")
    if value is None and type(None) not in typing.get_args(leaf.hint):
        # jsonargparse takes None for "not given", whatever the type.
        raise ConfigError(f"{origin}: {leaf.path} must be given a value. {leaf.help}")
    if leaf.hint in (str, str | None) and type(value) in (int, float):
        value = str(value)  # `labeled: 372` is a number to YAML
    checker = ArgumentParser(exit_on_error=False)
    checker.add_argument(f"--{leaf.path}", type=leaf.hint)
    try:
        parsed = checker.parse_object(_nested(leaf.path, value))
    except (ArgumentError, TypeError, ValueError, OverflowError) as error:
        wanted = re.sub(r"typing\.|<class '(\w+)'>", r"\1", str(leaf.hint))
        wanted = re.sub(r"Literal\[(.*?)\]", r"one of \1", wanted)
        raise ConfigError(
            f"{origin}: {leaf.path} must be {wanted}, found {value!r}. {leaf.help}"
        ) from error
    return parsed[leaf.path]


def _nested(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return dict(value)


def _build(kind: type[Any], values: Mapping[str, Any], prefix: str) -> Any:
    arguments = {}
    for entry in dataclasses.fields(kind):
        path = prefix + entry.name
        if path in values:
            arguments[entry.name] = values[path]
        else:
            section = typing.get_type_hints(kind)[entry.name]
            arguments[entry.name] = _build(section, values, f"{path}.")
    return kind(**arguments)


def typed_overrides(parsed: Namespace, assignments: list[str]) -> dict[str, Any]:
    """What was typed: flags that are not None and ``--set path=value`` assignments."""
    typed = {leaf.path: parsed[leaf.path] for leaf in settings_leaves()}
    overrides = {path: value for path, value in typed.items() if value is not None}
    for text in assignments:
        path, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"--set {text}: expected path=value, for example model.backbone=x")
        if path in overrides:
            raise ConfigError(f"--set {text}: {path} is given twice")
        overrides[path] = _scalar(value, text)
    for steps, epochs in IN_EPOCHS.items():
        if steps in overrides and overrides.get(epochs) is not None:
            raise ConfigError(f"--{epochs} and --{steps} contradict each other; give one of them")
    return overrides


def _scalar(text: str, assignment: str) -> Any:
    try:
        return parse_yaml(f"value: {text}", Path("--set")).data["value"]
    except ConfigError as error:
        raise ConfigError(f"--set {assignment}: {error}") from error


def to_flat(settings: Settings) -> dict[str, Any]:
    """Setting path -> value."""
    flat: dict[str, Any] = {}
    for leaf in settings_leaves():
        value: Any = settings
        for part in leaf.path.split("."):
            value = getattr(value, part)
        flat[leaf.path] = value
    return flat


def with_absolute_paths(settings: Settings) -> Settings:
    """The settings with paths that mean the same from any folder, so that a run can be resumed."""

    def absolute(text: str) -> str:
        return str(Path(text).expanduser().absolute())

    values = to_flat(settings)
    for key in ("data.root", "data.unlabeled", "source_domain.root", "source_domain.class_map"):
        if values[key] is not None:
            values[key] = absolute(values[key])
    words = {"targets.alignment": ALIGNMENTS, "model.weights": ("imagenet", "none")}
    for key, known in words.items():
        if values[key] not in known:
            values[key] = absolute(values[key])
    for key in ("data.labeled", "source_domain.labeled"):
        # A share or a number, a share of a pickled permutation, or one or two lists.
        if values[key] == "full" or re.fullmatch(r"[-+0-9./]+", values[key]):
            continue
        files, at, size = values[key].rpartition(".pkl@")
        paths = [absolute(f"{files}.pkl")] if at else [absolute(x) for x in values[key].split(",")]
        # What is neither a number nor a path is left to be refused as it was typed; a comma in a
        # path would be taken for the one between two lists.
        listed = at or all(Path(x).suffix or "/" in x for x in values[key].split(","))
        if listed and not any("," in path for path in paths):
            values[key] = ",".join(paths) + (f"@{size}" if at else "")
    built: Settings = _build(Settings, values, "")
    return built


def changed_settings(before: Settings, after: Settings, free: Collection[str]) -> list[str]:
    """Lines ``PATH: OLD -> NEW`` of what differs.

    Args:
        before: Settings of a run.
        after: Settings that are asked for. Steps that follow from its epochs are left out: they
            are counted once the images are.
        free: Paths that are left out as well.
    """
    old, new = to_flat(before), to_flat(after)
    left_out = {*free, *(steps for steps, epochs in IN_EPOCHS.items() if new[epochs] is not None)}
    return [
        f"{key}: {old[key]} -> {new[key]}"
        for key in new
        if old[key] != new[key] and key not in left_out
    ]


def dump_settings(settings: Settings) -> str:
    """The settings as YAML that :func:`resolve_settings` reads back to equal settings."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, tuple):
            return [plain(inner) for inner in value]
        return value

    text: str = yaml.safe_dump(
        plain(dataclasses.asdict(settings)), sort_keys=False, allow_unicode=True
    )
    return text


def check_ranges(settings: Settings) -> None:
    """Refuse values and combinations that cannot work, before any data is read."""
    data, model, mixing = settings.data, settings.model, settings.mixing
    epochs, warmup_epochs = settings.training.epochs, settings.schedule.warmup_epochs
    positive = {
        "data.batch_labeled": data.batch_labeled,
        "data.batch_unlabeled": data.batch_unlabeled,
        "demo.train_images": settings.demo.train_images,
        "demo.val_images": settings.demo.val_images,
        "optimizer.lr": settings.optimizer.lr,
        "optimizer.head_factor": settings.optimizer.head_factor,
        "training.iterations": settings.training.iterations,
        "training.accumulate": settings.training.accumulate,
        **({} if epochs is None else {"training.epochs": epochs}),
        "training.log_every": settings.training.log_every,
        "targets.ramp_steps": settings.targets.ramp_steps,
        "validation.batch_size": settings.validation.batch_size,
        "checkpoints.every": settings.checkpoints.every,
        "checkpoints.keep": settings.checkpoints.keep,
        "schedule.power": settings.schedule.power,
        "adversarial.lr": settings.adversarial.lr,
        "adversarial.temperature_g": settings.adversarial.temperature_g,
        "adversarial.temperature_d": settings.adversarial.temperature_d,
    }
    for path, value in positive.items():
        if value <= 0:
            raise ConfigError(f"{path} must be above 0, found {value}")
    not_negative = {
        "seed": settings.seed,
        "demo.seed": settings.demo.seed,
        "data.workers": data.workers or 0,
        "data.split_seed": data.split_seed or 0,
        "optimizer.weight_decay": settings.optimizer.weight_decay,
        "schedule.warmup_steps": settings.schedule.warmup_steps,
        "schedule.warmup_epochs": warmup_epochs or 0,
        "adversarial.alpha": settings.adversarial.alpha,
        "adversarial.warmup_steps": settings.adversarial.warmup_steps,
        "targets.unsupervised_weight": settings.targets.unsupervised_weight,
        "validation.every": settings.validation.every,
        "checkpoints.keep_every": settings.checkpoints.keep_every,
    }
    for path, value in not_negative.items():
        if value < 0:
            raise ConfigError(f"{path} must not be negative, found {value}")
    if settings.seed >= 2**63:
        raise ConfigError(f"seed must be below 2^63, found {settings.seed}")
    shares = {
        "mixing.proportion": mixing.proportion,
        "targets.threshold": settings.targets.threshold,
        "augmentation.colour_jitter_probability": settings.augmentation.colour_jitter_probability,
        "augmentation.blur_probability": settings.augmentation.blur_probability,
        "targets.alignment_decay": settings.targets.alignment_decay,
        "teacher.decay": settings.teacher.decay,
        "optimizer.momentum": settings.optimizer.momentum,
    }
    for path, value in shares.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"{path} must lie in [0, 1], found {value}")
    if not all(0 <= beta < 1 for beta in settings.adversarial.betas):
        raise ConfigError(
            f"adversarial.betas must lie in [0, 1), found {settings.adversarial.betas}"
        )
    if settings.optimizer.momentum == 1:
        raise ConfigError("optimizer.momentum must be below 1, found 1")
    if not 0 <= settings.augmentation.colour_jitter <= 0.5:
        raise ConfigError(
            "augmentation.colour_jitter must lie in [0, 0.5], found "
            f"{settings.augmentation.colour_jitter}"
        )
    if not 0 <= data.rotate <= 180:
        raise ConfigError(f"data.rotate must lie in [0, 180] degrees, found {data.rotate}")
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
        "mixing.sigma": mixing.sigma,
    }
    for path, interval in intervals.items():
        if interval is not None and not 0 < interval[0] <= interval[1]:
            raise ConfigError(f"{path} must be two numbers, 0 < low <= high, found {interval}")
    if settings.optimizer.clip_norm is not None and settings.optimizer.clip_norm <= 0:
        raise ConfigError(
            f"optimizer.clip_norm must be above 0, found {settings.optimizer.clip_norm}"
        )
    if model.output_stride not in (8, 16, 32):
        raise ConfigError(f"model.output_stride must be 8, 16 or 32, found {model.output_stride}")
    if not model.rates or min(model.rates) < 1:
        raise ConfigError(f"model.rates must be dilations of at least 1, found {model.rates}")
    if settings.teacher.mode == "eval" and settings.teacher.buffers == "own":
        raise ConfigError(
            "teacher.buffers own needs teacher.mode train: in eval mode nothing would update them. "
            "With teacher.mode eval set teacher.buffers to average"
        )
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
    if settings.training.precision == "fp16" and settings.training.device == "cpu":
        raise ConfigError("training.precision fp16 needs a GPU; use bf16 or fp32 on a CPU")
    if model.weights == "none" and model.batch_norm != "train":
        raise ConfigError(
            f"model.batch_norm {model.batch_norm} needs pretrained weights; with model.weights "
            "none, where scales start at 0 or 1 and statistics are unknown, use train"
        )
    if model.std is not None and min(model.std) <= 0:
        raise ConfigError(f"model.std must be above 0, found {model.std}")
    if model.weights_sha256 is not None:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", model.weights_sha256):
            raise ConfigError(
                f"model.weights_sha256 must be 64 hexadecimal digits, found {model.weights_sha256}"
            )
        if model.weights in ("imagenet", "none"):
            raise ConfigError("model.weights_sha256 needs model.weights to name a local file")
    for path, scale in {"data": data.scale, "source_domain": source_domain.scale}.items():
        if scale is not None and data.crop is None:
            raise ConfigError(
                f"{path}.scale needs data.crop: scaled images differ in size and cannot share a "
                "batch"
            )
    if epochs is not None and warmup_epochs is not None and warmup_epochs >= epochs:
        raise ConfigError(
            f"schedule.warmup_epochs ({warmup_epochs}) must be below training.epochs ({epochs})"
        )
    # With one of them in epochs, steps are compared once the labelled images are counted.
    warmups = {"adversarial": settings.adversarial.warmup_steps} if epochs is None else {}
    if epochs is None and warmup_epochs is None:
        warmups["schedule"] = settings.schedule.warmup_steps
    for path, steps in warmups.items():
        if steps >= settings.training.iterations:
            raise ConfigError(
                f"{path}.warmup_steps ({steps}) must be below training.iterations "
                f"({settings.training.iterations})"
            )
    if settings.validation.resolution == "input" and data.resize is None:
        raise ConfigError("validation.resolution: input needs data.resize")
    if settings.name is not None and not re.fullmatch(r"[\w.+=-]*\w[\w.+=-]*", settings.name):
        raise ConfigError(
            f"name must consist of letters, digits and . _ + = -, found {settings.name!r}"
        )
