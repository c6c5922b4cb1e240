"""The settings of every run, a documented dataclass for each section.

Options of parts (a mixer, a loss, a method, ...) are not here: each part declares its own, see
:mod:`mixseg.registry`, and they stand in the same sections. Defaults are the thesis' values for
semi-supervised Cityscapes (methods.md); presets under ``configs/`` state where they depart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, final

from mixseg.config.checks import (
    WITHOUT_FILE,
    check_labeled_target,
    check_length,
    check_margin,
    check_model,
    check_run_name,
    check_scales,
    check_terms,
)
from mixseg.config.options import IsPath, Needs, NeedsPart, NeedsStream
from mixseg.config.values import (
    SEEDS,
    Batch,
    Factors,
    NoSteps,
    Range,
    Rate,
    Share,
    Sides,
    Size,
    Steps,
)
from mixseg.errors import ConfigError

SOURCE = Needs("source_domain.dataset", help="--source NAME (mixseg uda)")
RARE = Needs("sampling.name=rare", help="--sampling.name rare")
CROPS = Needs("data.crop", "stages", help="--data.crop")
SCENES = Needs("built-in scenes", help="built-in scenes: leave --data-root out")


@final
@dataclass(frozen=True)
class DataSettings:
    """Where images come from, how they are split and how they are augmented."""

    dataset: str = "demo"
    """Layout of the data; demo draws street scenes unless there is a root."""
    root: Annotated[str | None, IsPath()] = None
    """Folder of the data set; the demo writes its own when none is given."""
    train_split: str = "train"
    """Split that labeled and unlabeled images are taken from."""
    val_split: str = "val"
    """Split for validation, unless val holds images out."""
    val: str | None = None
    """Labeled images of the training split that are held out for validation, and not trained on: a
    fraction such as 1/5, a number, or a list file; by default the images of val_split are taken."""
    labeled: str = "1/8"
    """Labeled part of the training split: a fraction, a number, full, a list file, a pair of list
    files joined by a comma, or FILE.pkl@1/8 for a published permutation."""
    unlabeled: Annotated[str | None, NeedsStream("unlabeled"), IsPath()] = None
    """Folder or list file of unlabeled images; by default the rest of the training split."""
    split_seed: Annotated[int | None, Range(0, SEEDS)] = None
    """Seed of the labeled/unlabeled split and of what val holds out; by default the seed of the
    run."""
    resize: Annotated[Size | None, Sides] = None
    """Height and width that every image is resized to first, also in validation."""
    scale: Annotated[tuple[float, float] | None, Factors] = None
    """Range of the random scale factor, applied before cropping."""
    scale_step: Annotated[float | None, Range(0.001, 10)] = None
    """Step of the random scale factors of both domains, from the lower end of their range on, such
    as 0.1 in the published VOC code, whose range is 0.5 to 1.6; by default any factor is drawn."""
    rotate: Annotated[float, Range(0, 180)] = 0.0
    """Largest angle in degrees, up to 180, by which images of both domains are turned about their
    center, either way; 0 is off. What lies outside has the mean color and the label 255."""
    crop: Annotated[Size | None, Sides] = None
    """Height and width of the random crop; smaller images are padded (label 255)."""
    padding: Annotated[Literal["around", "end"], CROPS] = "around"
    """Where a crop pads a smaller image: around it, which then lies at a random place, or at the
    end, on the right and at the bottom, as in the published VOC code."""
    flip: bool = False
    """Mirror half of the images left to right."""
    batch_labeled: Batch = 2
    """Labeled images per step."""
    batch_unlabeled: Annotated[Batch, NeedsStream("unlabeled")] = 2
    """Unlabeled images per step; they are mixed with each other."""
    batch_target: Annotated[Batch, NeedsStream("target")] = 2
    """Labeled target images per step, beside batch_labeled images of the source."""
    workers: Annotated[int | None, Range(0, 256)] = None
    """Loader processes per stream; by default chosen from the number of cores."""
    unpaired: Literal["error", "skip"] = "error"
    """What becomes of images without a label in a split that has labels: an error, or skip, which
    leaves them out and counts them; skip_bad leaves them out too."""
    skip_bad: bool = False
    """Replace training images and labels that cannot be read by the next ones of the epoch's order,
    and list them in skipped.jsonl; by default the first one ends the run."""
    skip_bad_share: Annotated[Share, Needs("data.skip_bad", help="--skip-bad")] = 0.05
    """With skip_bad: share of a stream's images that may be unreadable before the run ends."""

    @property
    def batches(self) -> dict[str, int]:
        """Name of a stream -> its images per step, whether a method takes it or not."""
        return {
            "labeled": self.batch_labeled,
            "unlabeled": self.batch_unlabeled,
            "target": self.batch_target,
        }


@final
@dataclass(frozen=True)
class SourceSettings:
    """Labeled renderings for domain adaptation; ``data`` is then the target, of whose labels none
    are used but those of ``data.labeled_target``."""

    dataset: str | None = None
    """Layout of the source."""
    root: Annotated[str | None, IsPath()] = None
    """Folder of the source; without one it is the built-in scenes of the other look, written in
    its layout."""
    split: Annotated[str, SOURCE] = "train"
    """Split of the source."""
    labeled: Annotated[str, SOURCE] = "full"
    """Part of the source that is used, as data.labeled."""
    resize: Annotated[Size | None, Sides, SOURCE] = None
    """Height and width that every source image is resized to first."""
    scale: Annotated[tuple[float, float] | None, Factors, SOURCE] = None
    """Range of the random scale factor of source images."""
    interpolation: Annotated[Literal["bilinear", "bicubic"], SOURCE] = "bilinear"
    """How source images are resized, with antialiasing; bicubic in the published code. Labels take
    the nearest pixel."""
    class_map: Annotated[str | None, SOURCE, IsPath()] = None
    """YAML file that says which class of the target each class of the source is; by default a
    built-in map."""


@final
@dataclass(frozen=True)
class SamplingSettings:
    """Which labeled images a step takes."""

    name: Annotated[Literal["uniform", "rare"], NeedsStream("labeled")] = "uniform"
    """How labeled images are drawn: each once an epoch, or by the rare classes that they show
    (DAFormer), where an epoch has as many draws and no other meaning."""
    temperature: Annotated[float, Range(0.0001, 1000), RARE] = 0.01
    """Of the softmax of 1 - f over classes, f the share of a class among labeled pixels; the lower,
    the more rare classes are preferred."""
    min_pixels: Annotated[int, Range(1, 1e9), RARE] = 3000
    """Pixels of the drawn class that an image should have, at the size of data.resize or
    source_domain.resize; where none has so many, those with most are taken."""
    min_crop_share: Annotated[float, Range(0, 10), RARE, CROPS] = 0.5
    """Share of min_pixels that a crop should show, or of those that the image has where they are
    fewer; 0 takes any crop."""
    retries: Annotated[int, Range(0, 1000), RARE, CROPS] = 10
    """Further places of a crop that are tried until it shows enough; else the best is taken."""


@final
@dataclass(frozen=True)
class DemoSettings:
    """The built-in scenes that serve as data when no root is given."""

    look: Annotated[Literal["render", "camera"], SCENES] = "camera"
    """Appearance: a rendered game or a photograph."""
    train_images: Annotated[int, Range(1, 100_000), SCENES] = 240
    """Number of training scenes."""
    val_images: Annotated[int, Range(1, 100_000), SCENES] = 60
    """Number of validation scenes."""
    size: Annotated[Size, Range(32, 4096), SCENES] = (128, 256)
    """Height and width in pixels."""
    seed: Annotated[int, Range(0, SEEDS), SCENES] = 0
    """Seed of the scenes; it does not depend on the seed of the run."""


@final
@dataclass(frozen=True)
class ModelSettings:
    """The segmentation network and the weights it starts from."""

    architecture: str = "deeplabv2"
    """Head on a backbone, or a whole network: enet needs model.backbone none, model.weights none
    and model.batch_norm train."""
    backbone: str = "resnet101"
    """Any timm model that offers features, without its weight tag; none for enet."""
    output_stride: Annotated[int, Range(8, 32)] = 8
    """Input size over size of the last feature map: 8, 16 or 32; fcn32s, fcn16s and fcn8s work at
    32."""
    upsampling: Literal["bilinear", "learned"] = "bilinear"
    """How logits are enlarged: bilinear interpolation, or transposed convolutions that start as it
    and are trained."""
    align_corners: bool = True
    """Whether bilinear interpolation aligns the centers of corner pixels; true in the published
    code. Learned upsampling starts from aligned edges, as false does."""
    batch_norm: Literal["train", "affine-frozen", "frozen"] = "affine-frozen"
    """Backbone batch norm: all trained; scale and shift fixed as in the published code; or
    statistics fixed as well."""
    weights: Annotated[str, IsPath(WITHOUT_FILE)] = "imagenet"
    """Initial weights: imagenet (timm's, downloaded), none, a local .safetensors/.pth file of
    backbone weights or of the original DeepLabv2 checkpoint, or a run or checkpoint of mixseg."""
    weights_sha256: str | None = None
    """Expected SHA-256 of the weight file, 64 hexadecimal digits; checked before loading."""
    mean: Annotated[tuple[float, float, float] | None, Range(0, 1)] = None
    """Mean of the RGB input in [0, 1]; by default the one the backbone was trained with. That of
    Cityscapes in the published semi-supervised code is 0.28389, 0.32513, 0.28690."""
    std: Annotated[tuple[float, float, float] | None, Range(0.001, 1)] = None
    """Deviation of the RGB input in [0, 1]; by default the one the backbone was trained with."""
    channel_order: Literal["rgb", "bgr"] | None = None
    """Order in which channels enter the network; by default bgr for an original DeepLabv2
    checkpoint, else rgb. The published VOC code gives such a checkpoint rgb."""
    freeze: tuple[str, ...] = ()
    """Names of parameters, or what they begin with, that are not trained: backbone.layer1."""
    activation_checkpointing: bool = False
    """Keep of each block of the backbone only what it is given and compute the rest again on the
    way back: less memory, about a third more time, the same gradients."""


@final
@dataclass(frozen=True)
class LossSettings:
    """What the student minimizes on labeled images."""

    name: str = "cross-entropy"
    """A loss, or a sum of several, each with a factor if it is not 1, as in
    cross-entropy + 0.5*dice."""


@final
@dataclass(frozen=True)
class MixingSettings:
    """How two images become one: unlabeled ones, and labeled ones if ``labeled`` names a mixer; its
    options then hold for both."""

    mixer: str = "classmix"
    """Mixer of unlabeled images; none leaves them as they are."""
    labeled: str = "none"
    """How labeled images are mixed with each other before the supervised loss, in any method."""


ALIGNMENTS = ("none", "uniform", "labeled", "target")
"""Words that ``targets.alignment`` knows; anything else is a file."""


@final
@dataclass(frozen=True)
class TargetSettings:
    """What the student is to agree with on unlabeled images, and how much it counts."""

    weighting: str = "threshold-proportional"
    """How much each pixel of an unlabeled image counts."""
    consistency: str = "cross-entropy"
    """Loss between the student and the targets."""
    alignment: Annotated[str, NeedsPart("teacher"), IsPath(ALIGNMENTS)] = "none"
    """Distribution alignment (2.5.6) of pseudo-labels: none, uniform, labeled (as the labeled
    images have it), target (as the labels of the unlabeled images have it, for studies), or a
    YAML file of class names and shares."""


@final
@dataclass(frozen=True)
class TeacherSettings:
    """Which network labels unlabeled images."""

    name: str = "mean"
    """Teacher: mean is the average of the student, self the student itself, frozen the network of
    distillation.teacher, alternating two averages in turn."""


@final
@dataclass(frozen=True)
class AugmentationSettings:
    """Strong augmentation of the images that the student sees; off in the thesis' default."""

    name: str = "strong"
    """Augmentation."""


@final
@dataclass(frozen=True)
class StyleSettings:
    """Images in the look of others before they are mixed with them."""

    name: str = "none"
    """How images take the look of others; none leaves them as they are."""


@final
@dataclass(frozen=True)
class DistillationSettings:
    """The trained network that a student learns from."""

    teacher: Annotated[str | None, NeedsPart("trained_teacher"), IsPath()] = None
    """The trained network: a run, one of its checkpoints, or a local weight file of torchvision's
    fcn_resnet101 or fcn_resnet50."""
    network: Annotated[Literal["teacher", "student"], NeedsPart("trained_teacher")] = "teacher"
    """Network of the run: teacher is its averaged one, student the one that was trained."""


@final
@dataclass(frozen=True)
class OptimizerSettings:
    """Optimizer of the student."""

    name: str = "sgd"
    """Optimizer."""
    lr: Rate = 2.5e-4
    """Learning rate of the backbone."""
    head_factor: Annotated[float, Range(1e-6, 1e6)] = 10.0
    """Learning rate of the head, as a multiple of the backbone's. With lr 7.5e-4 and 3.333 the
    backbone moves as far as in the published code, which updates most of its parameters several
    times a step."""
    weight_decay: Annotated[float, Range(0, 1000)] = 5e-4
    """Weight decay of every trained parameter."""
    no_decay_norms: bool = False
    """Leave biases and the scales of normalization layers out of the weight decay, as recipes of
    transformers do."""
    layer_decay: Annotated[float, Range(0.01, 1)] = 1.0
    """Factor of the learning rate from each stage of the backbone to the one below it; below 1 the
    first stages move least."""
    clip_norm: Annotated[float | None, Range(1e-9, 1e9)] = None
    """Largest norm of the gradient; by default it is not clipped."""


@final
@dataclass(frozen=True)
class ScheduleSettings:
    """Factor of the learning rate as a function of the step."""

    name: str = "poly"
    """Schedule."""
    warmup_steps: NoSteps = 0
    """Steps of linear warm-up before poly, cosine and constant."""
    warmup_epochs: Annotated[float | None, Range(0, 1e6)] = None
    """Warm-up in passes over the labeled images, parts of one included; schedule.warmup_steps then
    follows from it, by the rules of training.epochs."""


@final
@dataclass(frozen=True)
class StageSettings:
    """One stage of progressive scaling."""

    epochs: Annotated[int, Range(1, 1e6)]
    """Passes over the labeled images."""
    crop: Annotated[Size, Sides]
    """In place of data.crop."""
    batch: Batch
    """In place of data.batch_labeled; images of the other streams in the same proportion as
    there."""
    lr_factor: Annotated[float, Range(1e-6, 1e6)] = 1.0
    """Factor of the learning rate that the schedule gives."""


@final
@dataclass(frozen=True)
class TrainingSettings:
    """Length and arithmetic of a run."""

    iterations: Steps = 40_000
    """Optimizer steps."""
    epochs: Annotated[int | None, Range(1, 1e6)] = None
    """Length in passes over the labeled images (of the source, with two domains), each of
    ceil(images / (data.batch_labeled * training.accumulate)) steps; training.iterations then
    follows from it. Iterations in a later file or flag replace epochs of an earlier one; in one
    file epochs count. Intervals stay in steps."""
    accumulate: Batch = 1
    """Batches per optimizer step; the effective batch is this many times larger."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the forward pass. auto: on GPUs bf16 where the hardware has it, else fp16; on
    CPUs fp32 or bf16, whichever is found to be faster when the run starts."""
    channels_last: bool = True
    """Memory layout of images and weights; faster on current hardware."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    compile: bool = False
    """Compile backbone and head with torch.compile. The first steps take minutes; afterwards GPUs
    are faster, CPUs often not."""
    sync_batch_norm: bool = False
    """With several processes, normalize over the batch of all of them; on GPUs only. Otherwise each
    normalizes over its own part, and running statistics are averaged after every step."""
    log_every: Steps = 10
    """Steps between lines of metrics.jsonl."""
    loggers: tuple[str, ...] = ()
    """Loggers beside metrics.jsonl, which is always written."""


@final
@dataclass(frozen=True)
class ValidationSettings:
    """When and how the networks are evaluated during training."""

    every: NoSteps = 2000
    """Steps between validations; 0 evaluates at the end only."""
    resolution: Literal["native", "input"] = "native"
    """Size at which labels are compared: that of the files, or data.resize as in the published
    code."""
    batch_size: Batch = 1
    """Images per forward pass."""


@final
@dataclass(frozen=True)
class CheckpointSettings:
    """What is kept of a run."""

    every: Steps = 1000
    """Steps between checkpoints; the last step always writes one."""
    keep: Annotated[int, Range(1, 1e6)] = 2
    """Number of latest checkpoints that are kept; with two, one may be damaged."""
    keep_every: NoSteps = 0
    """Checkpoints at multiples of this step are kept for good; 0 keeps none."""


@final
@dataclass(frozen=True)
class Settings:
    """Everything that defines a run."""

    method: str = "semi_supervised"
    """How the network is trained."""
    regularizer: str = "none"
    """A further loss for any method, or none."""
    seed: Annotated[int, Range(0, SEEDS)] = 0
    """Seed of the split, the initial head, sampling, augmentation and mixing."""
    output: str = "runs"
    """Folder in which the run gets a folder of its own."""
    name: str | None = None
    """Name of the run's folder; by default made from the settings and the time."""
    data: DataSettings = DataSettings()
    source_domain: SourceSettings = SourceSettings()
    sampling: SamplingSettings = SamplingSettings()
    demo: DemoSettings = DemoSettings()
    model: ModelSettings = ModelSettings()
    supervised_loss: LossSettings = LossSettings()
    mixing: MixingSettings = MixingSettings()
    targets: TargetSettings = TargetSettings()
    teacher: TeacherSettings = TeacherSettings()
    terms: tuple[str, ...] = ()
    """Further losses of a step, each with a section of options."""
    augmentation: AugmentationSettings = AugmentationSettings()
    style: StyleSettings = StyleSettings()
    distillation: DistillationSettings = DistillationSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    stages: tuple[StageSettings, ...] = ()
    """Progressive scaling: a list of stages, each with epochs, crop, batch and lr_factor [1], such
    as {epochs: 100, crop: [384, 384], batch: 64}; training.epochs and training.iterations then
    follow from them, and the schedule runs over all of them."""
    training: TrainingSettings = TrainingSettings()
    validation: ValidationSettings = ValidationSettings()
    checkpoints: CheckpointSettings = CheckpointSettings()

    imports: tuple[str, ...] = ()
    """Files and modules with parts of your own, which --import names."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Setting path -> value, of the options of the parts that the settings name."""

    def __post_init__(self) -> None:
        """Refuse combinations that cannot work, before any data is read."""
        check_scales(self.data, self.source_domain, crops=self.crops)
        if self.validation.resolution == "input" and self.data.resize is None:
            raise ConfigError("validation.resolution: input needs data.resize")
        check_model(self.model, self.data, compiles=self.training.compile)
        check_length(self.training, self.schedule, self.stages, self.options)
        crops = [stage.crop for stage in self.stages]
        check_margin(self.options, crops or [self.data.crop or self.data.resize])
        check_terms(self.terms)
        check_labeled_target(self.labeled_target, two_domains=self.two_domains)
        if self.source_domain.dataset is None and self.source_domain.root is not None:
            raise ConfigError(
                "source_domain.root needs source_domain.dataset, to know how the folder is laid out"
            )
        if self.training.precision == "fp16" and self.training.device == "cpu":
            raise ConfigError("training.precision fp16 needs a GPU; use bf16 or fp32 on a CPU")
        if self.name is not None:
            check_run_name(self.name)

    @property
    def two_domains(self) -> bool:
        """Whether labeled images come from a source domain."""
        return self.source_domain.dataset is not None

    @property
    def labeled_section(self) -> DataSettings | SourceSettings:
        """The section about the labeled images."""
        return self.source_domain if self.two_domains else self.data

    @property
    def labeled_target(self) -> str | None:
        """The part of the target whose labels are used next to those of the source."""
        return self.options.get("data.labeled_target")

    @property
    def crops(self) -> bool:
        """Whether all training images are cropped to a size."""
        return self.data.crop is not None or bool(self.stages)

    @property
    def skips_unpaired(self) -> bool:
        """Whether images without a label are left out of a split that has labels."""
        return self.data.skip_bad or self.data.unpaired == "skip"

    @property
    def split_seed(self) -> int:
        """Seed of the labeled/unlabeled split."""
        return self.seed if self.data.split_seed is None else self.data.split_seed
