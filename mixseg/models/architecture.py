"""The interface of an architecture: how it is built, and which settings it works with."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from torch import nn

from mixseg.config.sections import ModelSettings
from mixseg.errors import ConfigError
from mixseg.models.backbone import NO_BACKBONE, build_backbone
from mixseg.models.model import ModelSpec, SegmentationModel
from mixseg.models.upsampling import build_upsampling


class Architecture(ABC):
    """A part in :data:`mixseg.registry.ARCHITECTURES`: a head on a backbone, or a whole network."""

    @property
    @abstractmethod
    def needs(self) -> Mapping[str, tuple[str | int, ...]]:
        """Settings of ``model`` -> the values that it works with, where not every value works."""

    @abstractmethod
    def build(self, spec: ModelSpec, *, pretrained: bool) -> SegmentationModel:
        """The network of a specification that passed :meth:`check`.

        With ``pretrained`` its backbone starts from ImageNet weights.

        Raises:
            ConfigError: A combination cannot be built.
        """

    def check(self, given: ModelSettings | ModelSpec) -> None:
        """Raise a ConfigError that names every setting that the architecture cannot work with."""
        found = dataclasses.asdict(given)  # a specification has no weights, for example
        wrong = [
            f"model.{key} {' or '.join(str(choice) for choice in choices)}, found {found[key]}"
            for key, choices in self.needs.items()
            if key in found and found[key] not in choices
        ]
        if wrong:
            raise ConfigError(f"model.architecture {given.architecture} needs {'; '.join(wrong)}")


@final
@dataclass(frozen=True)
class HeadOnBackbone(Architecture):
    """A head on feature maps of a timm backbone, and upsampling of its logits.

    Attributes:
        build_head: (channels of each map, specification) -> head. The head is called with the list
            of maps, finest first, and returns logits (B, num_classes, h, w) of the size of the
            first map.
        output_strides: Values of ``model.output_stride`` that it works with.
        skips: Strides of the maps that it takes besides the last one, finest first.
        fully_connected: Whether a VGG backbone keeps its fully connected layers, see
            :class:`mixseg.models.vgg.FullyConvolutionalVGG`.
    """

    build_head: Callable[[tuple[int, ...], ModelSpec], nn.Module]
    output_strides: tuple[int, ...] = (8, 16, 32)
    skips: tuple[int, ...] = ()
    fully_connected: bool = False

    @property
    def needs(self) -> Mapping[str, tuple[str | int, ...]]:
        """See the base class."""
        return {"output_stride": self.output_strides}

    def strides(self, output_stride: int) -> tuple[int, ...]:
        """Strides of all maps that the head takes, finest first."""
        return (*self.skips, output_stride)

    def build(self, spec: ModelSpec, *, pretrained: bool) -> SegmentationModel:
        """See the base class."""
        strides = self.strides(spec.output_stride)
        backbone, channels = build_backbone(
            spec.backbone,
            strides,
            pretrained=pretrained,
            stride_in_1x1=spec.stride_in_1x1,
            fully_connected=self.fully_connected,
        )
        head = self.build_head(channels, spec)
        return SegmentationModel(spec, backbone, head, build_upsampling(spec, factor=strides[0]))


@final
@dataclass(frozen=True)
class WholeNetwork(Architecture):
    """A network with its own encoder and decoder, which starts from random weights.

    Settings that have no effect on it are refused, except ``model.align_corners``, whose default is
    that of other architectures.

    Attributes:
        build_parts: specification -> (encoder, decoder, last layer). The encoder turns normalized
            images (B, 3, H, W) into a tuple, its coarsest features (B, K, h, w) first, and the
            decoder turns that into its output. The last layer is called with this output and
            (H, W) and returns logits (B, num_classes, H, W).
        output_stride: Input size over size of its coarsest map.
    """

    build_parts: Callable[[ModelSpec], tuple[nn.Module, nn.Module, nn.Module]]
    output_stride: int

    @property
    def needs(self) -> Mapping[str, tuple[str | int, ...]]:
        """See the base class."""
        return {
            "backbone": (NO_BACKBONE,),
            "weights": ("none",),
            "batch_norm": ("train",),
            "output_stride": (self.output_stride,),
            "upsampling": ("bilinear",),
        }

    def build(self, spec: ModelSpec, *, pretrained: bool) -> SegmentationModel:
        """See the base class; there are no ImageNet weights, so ``pretrained`` is refused."""
        if pretrained:
            raise ConfigError(f"model.architecture {spec.architecture} has no ImageNet weights")
        return SegmentationModel(spec, *self.build_parts(spec))
