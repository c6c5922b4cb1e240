"""The settings of a run: documented dataclasses, a section for each part.

Defaults are the thesis' values for semi-supervised Cityscapes (methods.md); presets under
``configs/`` state where they depart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, final

from mixseg.config.ranges import SEEDS, Range, check_ranges
from mixseg.config.values import Size

Sides = Range(32, 16_384)
Factors = Range(0.01, 16)
Share = Annotated[float, Range(0, 1)]
Weight = Annotated[float, Range(0, 1e6)]
Temperature = Annotated[float, Range(0.01, 10_000)]
Rate = Annotated[float, Range(1e-12, 1e6)]
Batch = Annotated[int, Range(1, 65_536)]
Steps = Annotated[int, Range(1, 1e9)]
NoSteps = Annotated[int, Range(0, 1e9)]
"""Steps, of which there may be none."""


@final
@dataclass(frozen=True)
class DataSettings:
    """Where images come from, how they are split and how they are augmented."""

    dataset: str = "demo"
    """Layout of the data: demo, cityscapes, bdd100k, camvid, voc, gta5, synthia or folder."""
    root: str | None = None
    """Folder of the data set; the demo writes its own when none is given."""
    train_split: str = "train"
    """Split that labelled and unlabelled images are taken from."""
    val_split: str = "val"
    """Split for validation, unless val holds images out."""
    val: str | None = None
    """Labelled images of the training split that are held out for validation, and not trained on: a
    fraction such as 1/5, a number, or a list file; by default the images of val_split are taken."""
    labeled: str = "1/8"
    """Labelled part of the training split: a fraction, a number, full, a list file, a pair of list
    files joined by a comma, or FILE.pkl@1/8 for a published permutation."""
    unlabeled: str | None = None
    """Folder or list file of unlabelled images; by default the rest of the training split."""
    split_seed: Annotated[int | None, Range(0, SEEDS)] = None
    """Seed of the labelled/unlabelled split and of what val holds out; by default the seed of the
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
    middle, either way; 0 is off. What lies outside has the mean colour and the label 255."""
    crop: Annotated[Size | None, Sides] = None
    """Height and width of the random crop; smaller images are padded (label 255)."""
    padding: Literal["around", "end"] = "around"
    """Where a crop pads a smaller image: around it, which then lies at a random place, or at the
    end, on the right and at the bottom, as in the published VOC code."""
    flip: bool = False
    """Mirror half of the images left to right."""
    batch_labeled: Batch = 2
    """Labelled images per step."""
    batch_unlabeled: Batch = 2
    """Unlabelled images per step; they are mixed with each other."""
    workers: Annotated[int | None, Range(0, 256)] = None
    """Loader processes per stream; by default chosen from the number of cores."""
    unpaired: Literal["error", "skip"] = "error"
    """What becomes of images without a label in a split that has labels: an error, or skip, which
    leaves them out and counts them; skip_bad leaves them out too."""
    skip_bad: bool = False
    """Replace training images and labels that cannot be read by the next ones of the epoch's order,
    and list them in skipped.jsonl; by default the first one ends the run."""
    skip_bad_share: Share = 0.05
    """With skip_bad: share of a stream's images that may be unreadable before the run ends."""


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
    resize: Annotated[Size | None, Sides] = None
    """Height and width that every source image is resized to first."""
    scale: Annotated[tuple[float, float] | None, Factors] = None
    """Range of the random scale factor of source images."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How source images are resized, with antialiasing; bicubic in the published code. Labels take
    the nearest pixel."""
    class_map: str | None = None
    """YAML file that says which class of the target each class of the source is; by default a
    built-in map."""


@final
@dataclass(frozen=True)
class DemoSettings:
    """The built-in scenes that serve as data when no root is given."""

    look: Literal["render", "camera"] = "camera"
    """Appearance: a rendered game or a photograph."""
    train_images: Annotated[int, Range(1, 100_000)] = 240
    """Number of training scenes."""
    val_images: Annotated[int, Range(1, 100_000)] = 60
    """Number of validation scenes."""
    size: Annotated[Size, Range(32, 4096)] = (128, 256)
    """Height and width in pixels."""
    seed: Annotated[int, Range(0, SEEDS)] = 0
    """Seed of the scenes; it does not depend on the seed of the run."""


@final
@dataclass(frozen=True)
class ModelSettings:
    """The segmentation network and the weights it starts from."""

    architecture: str = "deeplabv2"
    """Name of the architecture: deeplabv2, fcn32s, fcn16s, fcn8s, fcn (torchvision's head) or enet;
    enet is a whole network and needs model.backbone none, model.weights none and model.batch_norm
    train."""
    backbone: str = "resnet101"
    """Any timm model that offers features, without its weight tag; none for enet."""
    output_stride: Annotated[int, Range(8, 32)] = 8
    """Input size over size of the last feature map: 8, 16 or 32; fcn32s, fcn16s and fcn8s work at
    32."""
    rates: Annotated[tuple[int, ...], Range(1, 1024)] = (6, 12, 18, 24)
    """Dilations of the atrous convolutions of DeepLabv2's head, in feature pixels; the published
    code sums the first two alone, [6, 12]."""
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
    joint_forward: bool = False
    """One forward pass of the student for labelled and mixed images together; faster with small
    batches, but batch norm then normalises over both, and both have to fit into memory at once."""
    activation_checkpointing: bool = False
    """Keep of each block of the backbone only what it is given and compute the rest again on the
    way back: less memory, about a third more time, the same gradients."""


@final
@dataclass(frozen=True)
class LossSettings:
    """What the student minimises on labelled images."""

    name: str = "cross-entropy"
    """cross-entropy, balanced-cross-entropy, focal, ohem or dice; or a sum of several, each with a
    factor if it is not 1, as in cross-entropy + 0.5*dice."""
    label_smoothing: Annotated[float, Range(0, 1, below=True)] = 0.0
    """cross-entropy and balanced-cross-entropy: part of each target, below 1, that is spread evenly
    over all classes."""
    gamma: Annotated[float, Range(0, 100)] = 2.0
    """focal: exponent of 1 - y_c; 0 is cross-entropy. (The paper's code has exp((1 - y_c)^gamma)
    for a factor, which is at least 1 and has no setting.)"""
    ohem_threshold: Annotated[float, Range(0, 100)] = 0.36
    """ohem: cross-entropy in nats above which a pixel always counts (t); 0.36 is that of a
    probability of 0.7 for the right class."""
    ohem_share: Share = 0.0625
    """ohem: part of the labelled pixels of a batch that counts at least (p), hardest first; 1 is
    cross-entropy, 0.01 that of the paper's code."""
    dice: Literal["mean", "sum", "all"] = "mean"
    """dice: 1 - the mean over the classes that a batch has, or 1 - the sum as it is printed, or
    1 - the mean over all classes with 1 added to both sides of the quotient, as in the paper's
    code."""
    frequencies: Annotated[dict[str, float] | None, Range(0, 1e12)] = None
    """balanced-cross-entropy: share of each class by its name; by default counted from the labelled
    images."""


@final
@dataclass(frozen=True)
class MixingSettings:
    """How two images become one: unlabelled ones, and labelled ones if ``labeled`` says so; then
    proportion, rounding and sigma hold for both."""

    mixer: str = "classmix"
    """classmix, cutmix, cowmix or none."""
    proportion: Share = 0.5
    """Share that is kept of the image that is pasted: of its classes (ClassMix), of its area
    (CutMix), of its pixels on average (CowMix)."""
    rounding: Literal["ceil", "floor"] = "ceil"
    """ClassMix: rounding of proportion times classes; Algorithm 1 rounds up, the published
    semi-supervised code down."""
    domains: Literal["inter", "intra"] = "inter"
    """domain_adaptation: source classes onto target images (InterMix), or target images among
    themselves (IntraMix)."""
    sigma: Annotated[tuple[float, float], Range(0.1, 1024)] = (8.0, 32.0)
    """CowMix: log-uniform range of the smoothing in pixels of a 512x1024 image."""
    sigma_scaled: bool = True
    """CowMix: scale sigma with the square root of the image's area; false takes it in pixels of any
    image, as in the published code."""
    ignore_is_class: bool = False
    """ClassMix: count 255 among the classes of a label, so that unlabelled regions are pasted too,
    without a label; true in the published adaptation code."""
    labeled: str = "none"
    """How labelled images are mixed with each other before the supervised loss, in any method:
    none, mixup, classmix, cutmix or cowmix."""
    alpha: Annotated[float, Range(0.001, 1000)] = 0.1
    """Mixup: both parameters of the Beta distribution that shares are drawn from."""


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
    threshold: Share = 0.968
    """Confidence above which a pixel counts as confident (tau)."""
    per: Literal["batch", "image"] = "batch"
    """Threshold-proportional: one confident share for the batch, or one for each image. It is
    counted on mixed images; with mixing.domains inter on target images before anything is pasted.
    In both cases padding does not count."""
    ramp_steps: Steps = 10_000
    """Sigmoid: step at which the ramp reaches 1 (k_max)."""
    unsupervised_weight: Weight = 1.0
    """Factor of the whole consistency loss (lambda_u0)."""
    consistency: str = "cross-entropy"
    """cross-entropy or squared-error (2.1). The latter is a sum over classes; that of the published
    code is a mean, with targets.kind soft: for 19 classes targets.unsupervised_weight 0.0526."""
    alignment: str = "none"
    """Distribution alignment (2.5.6) of pseudo-labels: none, uniform, labeled (as the labelled
    images have it), target (as the labels of the unlabelled images have it, for studies), or a
    YAML file of class names and shares."""
    alignment_decay: Share = 0.99
    """Averaging factor of the teacher's predictions in distribution alignment."""


@final
@dataclass(frozen=True)
class AugmentationSettings:
    """Strong augmentation of the mixed image; off in the thesis' default."""

    colour_jitter: Annotated[float, Range(0, 0.5)] = 0.0
    """Strength of brightness, contrast, saturation and hue changes; 0 is off, the thesis' extra
    augmentations use 0.25, and so do the published Cityscapes configurations."""
    colour_jitter_probability: Share = 0.5
    """Share of batches that are jittered; 0.8 in the published code."""
    colour_jitter_form: Literal["torchvision", "kornia"] = "torchvision"
    """torchvision: brightness multiplies, contrast moves from the mean grey, saturation from grey.
    kornia: as kornia 0.3.0 in the published code, brightness adds, contrast multiplies, saturation
    multiplies that of HSV. Hue is turned in both."""
    per: Literal["batch", "image"] = "batch"
    """Colour jitter: one draw of the changes for the batch, or one for each image, as in the
    published code. Whether a batch is jittered, and the order of the changes, is drawn once."""
    blur: bool = False
    """Gaussian blur with sigma uniform in [0.15, 1.15]."""
    blur_probability: Share = 0.5
    """Share of batches that are blurred."""


@final
@dataclass(frozen=True)
class TeacherSettings:
    """The moving average of the student."""

    decay: Share = 0.99
    """Upper limit of the averaging factor (alpha)."""
    mode: Literal["train", "eval"] = "train"
    """Batch norm of the teacher while it labels: batch statistics as in the published code, or
    averaged ones. Without meaning for supervised training, whose average labels nothing."""
    buffers: Literal["average", "own"] = "average"
    """Batch-norm statistics: averaged like the weights, or the teacher's own running ones as in
    the published code."""


@final
@dataclass(frozen=True)
class DistillationSettings:
    """What a student learns from a trained network; in force with ``method: distillation``."""

    teacher: str | None = None
    """The trained network: a run, one of its checkpoints, or a local weight file of torchvision's
    fcn_resnet101 or fcn_resnet50."""
    network: Literal["teacher", "student"] = "teacher"
    """Which network of the run: its averaged one, or the one that was trained."""
    alpha: Share = 0.9
    """Share of the distillation loss in the sum with the supervised loss. The code that the report
    builds on averages the divergence over C classes: the same proportion as a share of
    alpha / (alpha + C (1 - alpha)) here."""
    temperature: Temperature = 20.0
    """Temperature of the softmax of both networks in the distillation loss (T)."""
    ignored: bool = False
    """Distil on pixels without label too."""
    unlabeled: Weight = 0.0
    """Weight of the distillation loss on unlabelled images, times alpha; 0 leaves them out."""
    pairwise: Weight = 0.0
    """Weight of the difference between the similarities of places in the features of both."""
    holistic: bool = False
    """With the adversarial temperature regularizer: its discriminator tells the student's maps from
    the teacher's rather than from the ground truth."""


@final
@dataclass(frozen=True)
class AdversarialSettings:
    """The adversarial temperature regularizer; in force with ``regularizer:
    adversarial-temperature``."""

    alpha: Weight = 0.05
    """Weight of what the discriminator thinks of the student's maps; 0.1 for FCN-8s on
    Cityscapes. The segmentation loss beside it is a mean over pixels, although the paper's equation
    1 sums."""
    temperature_g: Temperature = 1.0
    """Temperature of the softmax in the segmentation and adversarial losses (T_g)."""
    temperature_d: Temperature = 1.0
    """Temperature of the softmax maps that the discriminator learns from (T_d)."""
    loss: str = "lsgan"
    """lsgan or dcgan (Table 3-1)."""
    lr: Rate = 1e-7
    """Learning rate of the discriminator: 1e-7 for FCN-8s, 5e-8 for ResNet-50."""
    betas: Annotated[tuple[float, float], Range(0, 1, below=True)] = (0.5, 0.999)
    """Averaging factors of its Adam optimizer."""
    schedule: str = "same"
    """Schedule of its learning rate: same (as the student's, without the factors of stages), poly,
    cosine, one-cycle or constant."""
    warmup_steps: NoSteps = 0
    """Steps of linear warm-up of a schedule of its own."""
    unlabeled: bool = False
    """Take the student's maps of mixed unlabelled images for fakes too."""


@final
@dataclass(frozen=True)
class OptimizerSettings:
    """Optimizer of the student."""

    name: str = "sgd"
    """sgd or adamw."""
    lr: Rate = 2.5e-4
    """Learning rate of the backbone."""
    head_factor: Annotated[float, Range(1e-6, 1e6)] = 10.0
    """Learning rate of the head, as a multiple of the backbone's. With lr 7.5e-4 and 3.333 the
    backbone moves as far as in the published code, which updates most of its parameters several
    times a step."""
    momentum: Annotated[float, Range(0, 1, below=True)] = 0.9
    """Momentum of sgd; beta_1 of adamw."""
    weight_decay: Annotated[float, Range(0, 1000)] = 5e-4
    """Weight decay of every trained parameter."""
    clip_norm: Annotated[float | None, Range(1e-9, 1e9)] = None
    """Largest norm of the gradient; by default it is not clipped."""


@final
@dataclass(frozen=True)
class ScheduleSettings:
    """Factor of the learning rate as a function of the step."""

    name: str = "poly"
    """poly, cosine, one-cycle or constant."""
    power: Annotated[float, Range(0.001, 100)] = 0.9
    """Exponent of poly."""
    warmup_steps: NoSteps = 0
    """Steps of linear warm-up before poly, cosine and constant."""
    warmup_epochs: Annotated[float | None, Range(0, 1e6)] = None
    """Warm-up in passes over the labelled images, parts of one included; schedule.warmup_steps then
    follows from it, by the rules of training.epochs."""
    momentum: Annotated[tuple[float, float] | None, Range(0, 1, below=True)] = None
    """one-cycle: momentum falls from the second number to the first while the rate rises, and rises
    again while it falls, for example [0.85, 0.95]; by default it stays at optimizer.momentum."""


@final
@dataclass(frozen=True)
class StageSettings:
    """One stage of progressive scaling."""

    epochs: Annotated[int, Range(1, 1e6)]
    """Passes over the labelled images."""
    crop: Annotated[Size, Sides]
    """In place of data.crop."""
    batch: Batch
    """In place of data.batch_labeled; unlabelled images in the same proportion as there."""
    lr_factor: Annotated[float, Range(1e-6, 1e6)] = 1.0
    """Factor of the learning rate that the schedule gives."""


@final
@dataclass(frozen=True)
class TrainingSettings:
    """Length and arithmetic of a run."""

    iterations: Steps = 40_000
    """Optimizer steps."""
    epochs: Annotated[int | None, Range(1, 1e6)] = None
    """Length in passes over the labelled images (of the source, with two domains), each of
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
    """With several processes, normalise over the batch of all of them; on GPUs only. Otherwise each
    normalises over its own part, and running statistics are averaged after every step."""
    log_every: Steps = 10
    """Steps between lines of metrics.jsonl."""
    tensorboard: bool = False
    """Write TensorBoard files too (pip install 'mixseg[tensorboard]')."""


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
    """supervised, semi_supervised, domain_adaptation or distillation."""
    regularizer: str = "none"
    """none or adversarial-temperature; goes with any method."""
    seed: Annotated[int, Range(0, SEEDS)] = 0
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
    supervised_loss: LossSettings = field(default_factory=LossSettings)
    """Supervised loss."""
    mixing: MixingSettings = field(default_factory=MixingSettings)
    """Mixing."""
    targets: TargetSettings = field(default_factory=TargetSettings)
    """Targets."""
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    """Strong augmentation."""
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    """Mean teacher."""
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    """Distillation."""
    adversarial: AdversarialSettings = field(default_factory=AdversarialSettings)
    """Adversarial temperature regularizer."""
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    """Optimizer."""
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    """Schedule."""
    stages: tuple[StageSettings, ...] = ()
    """Progressive scaling: a list of stages, each with epochs, crop, batch and lr_factor [1], such
    as {epochs: 100, crop: [384, 384], batch: 64}; training.epochs and training.iterations then
    follow from them, and the schedule runs over all of them."""
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
    def crops(self) -> bool:
        """Whether all training images are cropped to a size."""
        return self.data.crop is not None or bool(self.stages)

    @property
    def skips_unpaired(self) -> bool:
        """Whether images without a label are left out of a split that has labels."""
        return self.data.skip_bad or self.data.unpaired == "skip"

    @property
    def split_seed(self) -> int:
        """Seed of the labelled/unlabelled split."""
        return self.seed if self.data.split_seed is None else self.data.split_seed

    @property
    def temperature(self) -> float:
        """Temperature of the softmax in the method's losses; 1 without a regularizer."""
        adversarial = self.regularizer == "adversarial-temperature"
        return self.adversarial.temperature_g if adversarial else 1.0
