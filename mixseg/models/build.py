"""The network of a specification, and the one that training starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mixseg.config.checks import WITHOUT_FILE
from mixseg.config.sections import ModelSettings
from mixseg.errors import CheckpointError, ConfigError
from mixseg.models.architecture import Architecture
from mixseg.models.backbone import NO_BACKBONE, backbone_statistics, check_backbone_name
from mixseg.models.hub import one_attempt
from mixseg.models.model import ModelSpec, SegmentationModel
from mixseg.models.weights import (
    DEEPLAB_MEAN,
    DEEPLAB_STD,
    WeightReport,
    check_weight_path,
    is_original_deeplab,
    load_weights,
    read_weight_file,
)
from mixseg.registry import ARCHITECTURES, PYTHON


def check_model_settings(settings: ModelSettings, options: Mapping[str, Any]) -> None:
    """Refuse unknown names, settings that do not go together, and missing weight files.

    Args:
        settings: The ``model`` section.
        options: Setting path -> value, with the options of the architecture.
    """
    architecture = _architecture(settings, options)
    if "backbone" not in architecture.needs:
        check_backbone_name(settings.backbone)
    # A folder is a run of mixseg, which the caller reads.
    named = settings.weights not in WITHOUT_FILE
    if named and not Path(settings.weights).expanduser().is_dir():
        check_weight_path(settings.weights)


def build_model(spec: ModelSpec, *, pretrained: bool = False) -> SegmentationModel:
    """The network of a specification, with timm's ImageNet weights in the backbone or without.

    Raises:
        ConfigError: An unknown name, or a combination that cannot be built.
    """
    return _architecture(spec, spec.options).build(spec, pretrained=pretrained)


def _architecture(given: ModelSettings | ModelSpec, options: Mapping[str, Any]) -> Architecture:
    if given.architecture == PYTHON:
        raise ConfigError(
            f"the network ({given.backbone}) was handed in from Python: use mixseg.load(path, "
            "network=...) with it"
        )
    ARCHITECTURES.check(given.architecture, "model.architecture")
    architecture = ARCHITECTURES.build(given.architecture, options)
    architecture.check(given)
    return architecture


def model_title(settings: ModelSettings | ModelSpec) -> str:
    """A short name, such as ``deeplabv2-resnet101`` or ``enet``."""
    if settings.backbone == NO_BACKBONE:
        return settings.architecture
    return f"{settings.architecture}-{settings.backbone}"


def build_initial_model(
    settings: ModelSettings,
    options: Mapping[str, Any],
    num_classes: int,
    seed: int,
    trained: SegmentationModel | None = None,
    *,
    keep_classifier: bool = True,
) -> tuple[SegmentationModel, WeightReport | None]:
    """The network that training starts from, and a report of the weight file, if there is one.

    Random weights depend on ``seed`` alone; the global random state is left as it was.

    Args:
        settings: The ``model`` section.
        options: Setting path -> value, with the options of the architecture.
        num_classes: Channels of the logits.
        seed: Seed of random weights.
        trained: A network whose weights are taken instead of ``settings.weights``, with its mean,
            std, channel order and strides unless the settings give others.
        keep_classifier: Whether the head of ``trained`` is taken too, if it fits.

    Raises:
        ConfigError: An unknown name, or a combination that cannot be built.
        CheckpointError: Weights cannot be read or downloaded, are unsafe, or do not fit.
    """
    check_model_settings(settings, options)
    tensors = None
    if trained is not None:
        tensors = trained.state_dict()
        if not keep_classifier:
            tensors = {key: one for key, one in tensors.items() if key.startswith("backbone.")}
    elif settings.weights not in WITHOUT_FILE:
        tensors = read_weight_file(settings.weights, settings.weights_sha256)
    if trained is not None:
        mean, std = trained.spec.mean, trained.spec.std
        order, stride_in_1x1 = trained.spec.channel_order, trained.spec.stride_in_1x1
    elif tensors is not None and is_original_deeplab(tensors):
        mean, std, order, stride_in_1x1 = DEEPLAB_MEAN, DEEPLAB_STD, "bgr", True
    else:
        mean, std = backbone_statistics(settings.backbone)
        order, stride_in_1x1 = "rgb", False
    own = ARCHITECTURES.options(settings.architecture)
    spec = ModelSpec(
        architecture=settings.architecture,
        backbone=settings.backbone,
        num_classes=num_classes,
        output_stride=settings.output_stride,
        align_corners=settings.align_corners,
        upsampling=settings.upsampling,
        mean=settings.mean or mean,
        std=settings.std or std,
        channel_order=settings.channel_order or order,
        stride_in_1x1=stride_in_1x1,
        options={one.path: options[one.path] for one in own if one.path in options},
    )
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        download = settings.weights == "imagenet" and trained is None
        model = _download(spec) if download else build_model(spec)
    report = None if tensors is None else load_weights(model, tensors, settings.weights)
    model.set_batch_norm(settings.batch_norm)
    return model, report


def _download(spec: ModelSpec) -> SegmentationModel:
    # Built without weights first, so that a bad setting is told apart from a failed download.
    build_model(spec)
    try:
        with one_attempt():
            return build_model(spec, pretrained=True)
    except Exception as error:  # the hub client raises errors of many libraries
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(
            f"model.weights: imagenet: the weights of {spec.backbone!r} could not be downloaded "
            f"({reason}). Give a local file with --weights FILE.safetensors, or start from random "
            "weights with --weights none."
        ) from error
