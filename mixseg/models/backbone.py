"""Backbones: any timm model that offers feature maps, at a chosen output stride."""

from __future__ import annotations

import difflib
import re
from typing import Any

import timm
from timm.models.resnet import BasicBlock, Bottleneck
from torch import nn

from mixseg.errors import ConfigError, unknown_name
from mixseg.models.vgg import FullyConvolutionalVGG

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

NO_BACKBONE = "none"
"""The ``model.backbone`` of architectures that are whole networks."""

NEEDS_BOTTLENECKS = (
    "an original DeepLabv2 checkpoint needs a ResNet with bottleneck blocks as model.backbone, for "
    "example resnet101"
)

Triple = tuple[float, float, float]


def build_backbone(
    name: str,
    strides: tuple[int, ...],
    *,
    pretrained: bool,
    stride_in_1x1: bool = False,
    fully_connected: bool = False,
) -> tuple[nn.Module, tuple[int, ...]]:
    """A network from normalized images to a list of feature maps, and the channels of each.

    Args:
        name: timm model name, with or without weight tag.
        strides: Input size over size of each map, finest map first. The last is the output stride:
            later stages are dilated to keep it. The maps are the last ones that the network has.
        pretrained: Start from timm's ImageNet weights, downloading them where needed.
        stride_in_1x1: See :class:`mixseg.models.model.ModelSpec`.
        fully_connected: See :class:`mixseg.models.architecture.HeadOnBackbone`.

    Raises:
        ConfigError: There is no such model, or it has no maps of these strides.
    """
    check_backbone_name(name)
    if fully_connected and name.startswith("vgg"):
        if stride_in_1x1:
            raise ConfigError(NEEDS_BOTTLENECKS)
        # timm's feature maps end before the fully connected layers and are taken before pooling.
        vgg = FullyConvolutionalVGG(
            timm.create_model(name, num_classes=0, pretrained=pretrained), strides
        )
        return vgg, vgg.channels
    output_stride = strides[-1]
    # Dilation in place of stride exists for most convolutional networks; where it does not, timm
    # refuses the argument. Stride 32 is every network's own.
    stride: dict[str, Any] = {} if output_stride == 32 else {"output_stride": output_stride}
    try:
        backbone: nn.Module = timm.create_model(
            name,
            features_only=True,
            out_indices=tuple(range(-len(strides), 0)),
            pretrained=pretrained,
            **stride,
        )
    except (TypeError, AssertionError, RuntimeError, AttributeError, ValueError) as error:
        if pretrained:  # a failed download can look like any of these; the caller tells it apart
            raise
        # Some of timm's checks say nothing.
        reason = next(filter(str.strip, str(error).splitlines()), "timm does not offer it")
        raise ConfigError(
            f"model.backbone {name!r} cannot give feature maps at output stride {output_stride} "
            f"({reason}). Try {'' if output_stride == 32 else 'model.output_stride 32 or '}"
            "another backbone."
        ) from error
    if str(getattr(backbone, "output_fmt", None)).endswith("NHWC"):
        raise ConfigError(
            f"model.backbone {name!r} gives feature maps with channels last, which no head here "
            "reads; take a convolutional backbone"
        )
    information: Any = backbone.feature_info
    reductions = tuple(information.reduction())
    if reductions[-1] != output_stride:
        raise ConfigError(
            f"model.backbone {name!r} gives stride {reductions[-1]} where model.output_stride asks "
            f"for {output_stride}"
        )
    if reductions != strides:
        found, needed = (", ".join(map(str, some)) for some in (reductions, strides))
        raise ConfigError(
            f"model.backbone {name!r} gives feature maps of strides {found} where "
            f"model.architecture needs {needed}; take another backbone"
        )
    if stride_in_1x1:
        _move_strides(backbone)
    return backbone, tuple(int(channels) for channels in information.channels())


def check_backbone_name(name: str) -> None:
    """Raise a ConfigError with the closest name if timm does not know this one."""
    if name == NO_BACKBONE:
        raise ConfigError(
            f"model.backbone {name} is for architectures that are whole networks, as enet is; this "
            "model.architecture needs a timm model, for example resnet101"
        )
    # A path or hub address makes timm look outside its registry: only names are settings.
    base = name.split(".", 1)[0]
    if not timm.is_model(base) or not base.replace("_", "").isalnum():
        choices = timm.list_models("*")
        near = " or ".join(map(repr, _near(base, choices)))
        hint = f" Did you mean {near}?" if near else ""
        raise ConfigError(
            f"model.backbone: unknown backbone {name!r}.{hint} timm {timm.__version__} has "
            f"{len(choices)} models"
        )
    known = timm.list_pretrained(f"{base}.*") if "." in name else [name]
    if name not in known:
        raise ConfigError(f"model.backbone: {unknown_name('weight tag', name, known)}")


def _near(name: str, choices: list[str]) -> list[str]:
    """The model that a name may be a slip of, or up to three that share a word with it."""
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.7)
    if close:
        return close
    # Other libraries' names of a model, dinov3_vits16, share the name of its family and no more.
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if len(word) > 3]
    related = [one for one in choices if any(word in one for word in words)]
    return difflib.get_close_matches(name, related, n=3, cutoff=0.0)


def backbone_statistics(name: str) -> tuple[Triple, Triple]:
    """Mean and std, RGB in [0, 1], that the backbone's own weights expect.

    Those of ImageNet where there is no backbone (Lourenço, III-B) or timm does not say.
    """
    configuration: Any = None if name == NO_BACKBONE else timm.get_pretrained_cfg(name)
    if configuration is None:
        return IMAGENET_MEAN, IMAGENET_STD
    return tuple(configuration.mean), tuple(configuration.std)


def _move_strides(backbone: nn.Module) -> None:
    """Give a timm ResNet the geometry of the original DeepLab network, whose weights need it.

    There the first 1x1 convolution of a block is strided rather than its 3x3 convolution, all
    blocks of a dilated stage have the same rate, and max pooling rounds sizes up.
    """
    blocks = [layer for layer in backbone.modules() if isinstance(layer, Bottleneck)]
    if not blocks or any(isinstance(layer, BasicBlock) for layer in backbone.modules()):
        raise ConfigError(NEEDS_BOTTLENECKS)
    for block in blocks:
        block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        rate = backbone[stage][-1].conv2.dilation  # type: ignore[index]
        for block in backbone[stage]:  # type: ignore[index]
            block.conv2.dilation = block.conv2.padding = rate
    for layer in backbone.modules():
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True
