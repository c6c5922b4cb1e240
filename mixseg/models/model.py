"""The model contract: RGB images in, logits at input size out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, final

import torch
from torch import Tensor, nn

LARGEST = 100_000
"""Upper limit of the numbers of a specification, far above those of any network."""


@final
@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to build a network again; it is saved with its weights.

    Attributes:
        architecture: Name in :data:`mixseg.models.ARCHITECTURES`.
        backbone: Name of a timm model, or ``none``.
        num_classes: Channels of the logits.
        output_stride: Input size over feature size.
        align_corners: How bilinear interpolation aligns maps.
        mean: Mean of the input, RGB order, in [0, 1].
        std: Deviation of the input, RGB order, in [0, 1].
        channel_order: Order in which channels enter the backbone.
        stride_in_1x1: ResNets of the original DeepLab: strides in the 1x1 convolutions, uniform
            dilation in a stage, pooling that rounds sizes up.
        upsampling: How logits are enlarged, see :mod:`mixseg.models.upsampling`.
        options: Setting path -> value, of the options of the architecture.
    """

    architecture: str
    backbone: str
    num_classes: int
    output_stride: int
    align_corners: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channel_order: Literal["rgb", "bgr"] = "rgb"
    stride_in_1x1: bool = False
    upsampling: Literal["bilinear", "learned"] = "bilinear"
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; :meth:`from_json` reads it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ModelSpec:
        """Inverse of :meth:`to_json`; a field that older files lack takes its default.

        Raises:
            TypeError: A field without default is missing, or one is unknown, or of another type.
        """
        given = {key: _tuples(value) for key, value in content.items()}
        if "rates" in given:  # earlier versions had the option of one architecture here
            given["options"] = {"model.rates": given.pop("rates")}
        if given.get("upsampling") == "learnt":
            given["upsampling"] = "learned"
        spec = cls(**given)
        whole = (spec.num_classes, spec.output_stride)
        real = (*spec.mean, *spec.std)
        if not (
            all(type(number) is int and 1 <= number <= LARGEST for number in whole)
            and all(type(number) in (int, float) and abs(number) <= LARGEST for number in real)
            and len(spec.mean) == len(spec.std) == 3
            and all(isinstance(name, str) for name in (spec.architecture, spec.backbone))
            and isinstance(spec.options, dict)
        ):
            raise TypeError(f"this is no network: {str(content)[:200]}")
        return spec


def _tuples(value: Any) -> Any:
    """JSON with tuples for lists."""
    if isinstance(value, dict):
        return {key: _tuples(one) for key, one in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@final
class Normalisation(nn.Module):
    """(x - mean) / std per channel, in the channel order that the backbone was trained with."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        channel_order: Literal["rgb", "bgr"],
    ) -> None:
        super().__init__()
        # Part of the specification, so not part of the weights.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.flip_channels = channel_order == "bgr"

    def forward(self, images: Tensor) -> Tensor:
        """Normalise float RGB images in [0, 1], shape (B, 3, H, W)."""
        normalised = (images - self.mean) / self.std
        return normalised.flip(1) if self.flip_channels else normalised


class ModelOutput(NamedTuple):
    """Output of a network for a batch.

    Attributes:
        logits: float, shape (B, C, H, W), as large as the images.
        features: float, shape (B, K, h, w): the coarsest feature map of the backbone.
    """

    logits: Tensor
    features: Tensor


@final
class SegmentationModel(nn.Module):
    """Normalisation, backbone, head, and upsampling to the input size.

    A timm backbone gives a list of feature maps, finest first; the head turns the list into logits
    of the size of its finest map. Of a whole network the encoder is the backbone, the decoder the
    head: what one returns the other takes.

    Called with float RGB images in [0, 1] of shape (B, 3, H, W), it returns float logits of shape
    (B, C, H, W). Any H and W of at least one pixel will do.
    """

    def __init__(
        self, spec: ModelSpec, backbone: nn.Module, head: nn.Module, upsampling: nn.Module
    ) -> None:
        super().__init__()
        self.spec = spec
        self.normalisation = Normalisation(spec.mean, spec.std, spec.channel_order)
        self.backbone = backbone
        self.head = head
        self.upsampling = upsampling
        self.frozen_statistics = False

    def forward(self, images: Tensor) -> Tensor:
        """Logits of float RGB images in [0, 1]; see the class."""
        return self.forward_with_features(images).logits

    def forward_with_features(self, images: Tensor) -> ModelOutput:
        """Logits, and the coarsest of the features that the head made them of."""
        maps = self.backbone(self.normalisation(images))
        logits: Tensor = self.upsampling(self.head(maps), tuple(images.shape[-2:]))
        # What a backbone gives is a list of maps; what an encoder gives is the decoder's affair,
        # features first.
        return ModelOutput(logits, maps[-1] if isinstance(maps, list) else maps[0])

    def set_batch_norm(self, policy: Literal["train", "affine-frozen", "frozen"]) -> None:
        """Decide what of the backbone's batch norm is trained.

        Args:
            policy: ``train``: everything. ``affine-frozen``: scale and shift stay as they are, as
                in the published code. ``frozen``: the running statistics are used and stay too.
        """
        for layer in self._backbone_norms():
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(policy == "train")
        self.frozen_statistics = policy == "frozen"
        self.train(self.training)

    def train(self, mode: bool = True) -> SegmentationModel:
        """As in torch, but frozen batch norm stays in evaluation mode."""
        super().train(mode)
        if self.frozen_statistics:
            for layer in self._backbone_norms():
                layer.eval()
        return self

    def _backbone_norms(self) -> Iterator[nn.Module]:
        return (
            layer
            for layer in self.backbone.modules()
            if isinstance(layer, nn.modules.batchnorm._BatchNorm)
        )
