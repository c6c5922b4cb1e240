"""Models: backbone, head, logits at input size."""

from __future__ import annotations

import torch
from torch import nn

from mixseg.config import ModelSettings
from mixseg.errors import CheckpointError, ConfigError, unknown_name
from mixseg.models.architecture import Architecture
from mixseg.models.backbone import backbone_statistics, build_backbone, check_backbone_name
from mixseg.models.deeplabv2 import AtrousPyramid
from mixseg.models.discriminator import Discriminator
from mixseg.models.fcn import SkipScores
from mixseg.models.model import ModelSpec, Normalisation, SegmentationModel
from mixseg.models.upsampling import build_upsampling
from mixseg.models.weights import (
    DEEPLAB_MEAN,
    DEEPLAB_STD,
    WeightReport,
    check_weight_path,
    is_original_deeplab,
    load_weights,
    read_weight_file,
)

ARCHITECTURES: dict[str, Architecture] = {
    "deeplabv2": Architecture(
        lambda channels, spec: AtrousPyramid(channels[-1], spec.num_classes, spec.rates)
    ),
    "fcn32s": Architecture(SkipScores, output_strides=(32,), fully_connected=True),
    "fcn16s": Architecture(SkipScores, output_strides=(32,), skips=(16,), fully_connected=True),
    "fcn8s": Architecture(SkipScores, output_strides=(32,), skips=(8, 16), fully_connected=True),
}
"""Name -> the maps it takes and the head on them. Add an entry to add an architecture."""


def check_model_settings(settings: ModelSettings) -> None:
    """Refuse unknown names and weight addresses before anything is built or read."""
    _architecture(settings.architecture, settings.output_stride)
    check_backbone_name(settings.backbone)
    if settings.weights not in ("imagenet", "none"):
        check_weight_path(settings.weights)


def build_model(spec: ModelSpec, *, pretrained: bool = False) -> SegmentationModel:
    """The network of a specification, with timm's ImageNet weights in the backbone or without.

    Raises:
        ConfigError: An unknown name, or a combination that cannot be built.
    """
    architecture = _architecture(spec.architecture, spec.output_stride)
    strides = architecture.strides(spec.output_stride)
    backbone, channels = build_backbone(
        spec.backbone,
        strides,
        pretrained=pretrained,
        stride_in_1x1=spec.stride_in_1x1,
        fully_connected=architecture.fully_connected,
    )
    head = architecture.build_head(channels, spec)
    return SegmentationModel(spec, backbone, head, build_upsampling(spec, factor=strides[0]))


def _architecture(name: str, output_stride: int) -> Architecture:
    """The entry of this name; a ConfigError if there is none or it cannot have this stride."""
    if name not in ARCHITECTURES:
        message = unknown_name("architecture", name, ARCHITECTURES)
        raise ConfigError(f"model.architecture: {message}")
    choices = ARCHITECTURES[name].output_strides
    if output_stride not in choices:
        raise ConfigError(
            f"model.architecture {name} needs model.output_stride "
            f"{' or '.join(str(choice) for choice in choices)}, found {output_stride}"
        )
    return ARCHITECTURES[name]


def build_initial_model(
    settings: ModelSettings, num_classes: int, seed: int
) -> tuple[SegmentationModel, WeightReport | None]:
    """The network that training starts from, and what its weight file gave, if there was one.

    Random weights depend on ``seed`` alone; the global random state is left as it was.

    Raises:
        ConfigError: An unknown name, or a combination that cannot be built.
        CheckpointError: Weights cannot be had, are unsafe, or do not fit.
    """
    check_model_settings(settings)
    tensors = None
    if settings.weights not in ("imagenet", "none"):
        tensors = read_weight_file(settings.weights, settings.weights_sha256)
    original = tensors is not None and is_original_deeplab(tensors)
    mean, std = (DEEPLAB_MEAN, DEEPLAB_STD) if original else backbone_statistics(settings.backbone)
    spec = ModelSpec(
        architecture=settings.architecture,
        backbone=settings.backbone,
        num_classes=num_classes,
        output_stride=settings.output_stride,
        rates=settings.rates,
        align_corners=settings.align_corners,
        upsampling=settings.upsampling,
        mean=settings.mean or mean,
        std=settings.std or std,
        channel_order=settings.channel_order or ("bgr" if original else "rgb"),
        stride_in_1x1=original,
    )
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        model = _download(spec) if settings.weights == "imagenet" else build_model(spec)
    report = None if tensors is None else load_weights(model, tensors, settings.weights)
    model.set_batch_norm(settings.batch_norm)
    return model, report


def _download(spec: ModelSpec) -> SegmentationModel:
    # Built without weights first, so that a bad setting is told apart from a failed download.
    build_model(spec)
    try:
        return build_model(spec, pretrained=True)
    except Exception as error:  # the hub client raises errors of many libraries
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(
            f"model.weights: imagenet: the weights of {spec.backbone!r} could not be downloaded "
            f"({reason}). Give a local file with --weights FILE.safetensors, or start from random "
            "weights with --weights none."
        ) from error


def parameter_groups(
    model: SegmentationModel, lr: float, head_factor: float, weight_decay: float
) -> list[dict[str, object]]:
    """Two optimizer groups: the backbone, and all after it with ``head_factor`` times its rate."""

    def trained(*modules: nn.Module) -> list[nn.Parameter]:
        return [
            parameter
            for module in modules
            for parameter in module.parameters()
            if parameter.requires_grad
        ]

    return [
        {"params": trained(model.backbone), "lr": lr, "weight_decay": weight_decay},
        {
            "params": trained(model.head, model.upsampling),
            "lr": lr * head_factor,
            "weight_decay": weight_decay,
        },
    ]


__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Discriminator",
    "ModelSpec",
    "Normalisation",
    "SegmentationModel",
    "WeightReport",
    "build_initial_model",
    "build_model",
    "check_model_settings",
    "load_weights",
    "parameter_groups",
    "read_weight_file",
]
