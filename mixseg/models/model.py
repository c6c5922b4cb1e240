"""The interface of a network: RGB images in, logits of their size out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from mixseg.errors import ConfigError

LARGEST = 100_000
"""Upper limit of the numbers of a specification, far above those of any network."""


@final
@dataclass(frozen=True)
class ModelSpec:
    """What a network is built from; it is saved with the weights.

    Attributes:
        architecture: Name in :data:`mixseg.registry.ARCHITECTURES`.
        backbone: Name of a timm model, or ``none``.
        num_classes: Channels of the logits.
        output_stride: Input size over feature size.
        align_corners: How bilinear interpolation aligns maps, as in torch.
        mean: Mean of the input, RGB order, in [0, 1].
        std: Std of the input, RGB order, in [0, 1].
        channel_order: Order in which channels enter the backbone.
        stride_in_1x1: Whether a ResNet is that of the original DeepLab: strides in the 1x1
            convolutions, uniform dilation in a stage, pooling that rounds sizes up.
        upsampling: How logits are enlarged, see :mod:`mixseg.models.upsampling`.
        options: Setting path -> value, with the options of the architecture.
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
        """Inverse of :meth:`to_json`; a field that an older file lacks takes its default.

        Raises:
            TypeError: A field is missing, unknown, or of another type.
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
    """(x - mean) / std per channel, in the channel order of the backbone."""

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
        """Normalize float RGB images in [0, 1], shape (B, 3, H, W)."""
        normalized = (images - self.mean) / self.std
        return normalized.flip(1) if self.flip_channels else normalized


Features = list[Tensor] | tuple[Any, ...]
"""Feature maps (B, K, h, w) of a backbone, finest first; or the tuple that the encoder of a whole
network returns, its coarsest features first."""


class ModelOutput(NamedTuple):
    """The output of a network for a batch.

    Attributes:
        logits: float, shape (B, C, H, W), as large as the images.
        features: float, shape (B, K, h, w): the coarsest feature map of the backbone.
    """

    logits: Tensor
    features: Tensor


@final
class SegmentationModel(nn.Module):
    """Normalization, backbone, head, and upsampling to the input size.

    A timm backbone returns a list of feature maps, finest first, and the head turns it into logits
    of the size of the finest map. In a whole network the backbone is the encoder, the head the
    decoder. Called with float RGB images in [0, 1] of shape (B, 3, H, W), H and W at least 1, a
    network returns float logits of shape (B, C, H, W).
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

    def forward(self, images: Tensor, change: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Logits of float RGB images in [0, 1]; see the class.

        ``change`` is applied to each feature map (B, K, h, w) between backbone and head; of a whole
        network to the coarsest one.
        """
        features = self.encode(images)
        if change is not None and isinstance(features, list):
            features = [change(one) for one in features]
        elif change is not None:
            # The decoder may read its input by names, as that of ENet does.
            make = getattr(features, "_make", tuple)
            features = make((change(features[0]), *features[1:]))
        return self.decode(features, images.shape[-2:])

    def encode(self, images: Tensor) -> Features:
        """Features of float RGB images in [0, 1]."""
        features: Features = self.backbone(self.normalisation(images))
        return features

    def decode(self, features: Features, size: Sequence[int]) -> Tensor:
        """Logits of features, enlarged to the height and width of the images."""
        logits: Tensor = self.upsampling(self.head(features), tuple(size))
        return logits

    def forward_with_features(self, images: Tensor) -> ModelOutput:
        """Logits, and the coarsest feature map that the head made them from."""
        features = self.encode(images)
        return ModelOutput(self.decode(features, images.shape[-2:]), coarsest(features))

    def set_batch_norm(self, policy: Literal["train", "affine-frozen", "frozen"]) -> None:
        """Train the batch norm of the backbone or not.

        Args:
            policy: ``train``: train all of it. ``affine-frozen``: keep scale and shift, as in the
                published code. ``frozen``: keep and use the running statistics too.
        """
        for layer in self._backbone_norms():
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(policy == "train")
        self.frozen_statistics = policy == "frozen"
        self.train(self.training)

    def freeze(self, prefixes: Sequence[str]) -> None:
        """Train no parameter whose name begins with one of the prefixes, such as ``backbone.``.

        Raises:
            ConfigError: A prefix fits no parameter.
        """
        for prefix in prefixes:
            found = [one for name, one in self.named_parameters() if name.startswith(prefix)]
            if not found:
                first = ", ".join(name for name, _ in self.named_children())
                raise ConfigError(
                    f"model.freeze: no parameter is called {prefix}...; names begin with {first}"
                )
            for parameter in found:
                parameter.requires_grad_(False)

    def parameter_groups(
        self,
        lr: float,
        weight_decay: float,
        *,
        head_factor: float = 1.0,
        no_decay_norms: bool = False,
        layer_decay: float = 1.0,
    ) -> list[dict[str, Any]]:
        """Groups for an optimizer: the backbone, and all after it.

        Args:
            lr: Learning rate of the backbone.
            weight_decay: Weight decay of every trained parameter.
            head_factor: Learning rate of all after the backbone, as a multiple of the backbone's.
            no_decay_norms: Whether norms and biases are left without weight decay.
            layer_decay: Factor between the learning rates of one layer of the backbone and the
                next; below 1, layers near the input move least.
        """
        groups: dict[tuple[float, ...], dict[str, Any]] = {}

        def add(part: int, rate: float, parameters: Iterable[nn.Parameter]) -> None:
            groups.setdefault((part, rate), _group(rate, weight_decay))
            for parameter in parameters:
                if not parameter.requires_grad:
                    continue
                decay = 0.0 if no_decay_norms and parameter.dim() <= 1 else weight_decay
                key = (part, rate) if decay == weight_decay else (part, rate, decay)
                groups.setdefault(key, _group(rate, decay))["params"].append(parameter)

        layers = [list(self.backbone.parameters())]
        if layer_decay != 1:
            layers = backbone_layers(self.backbone)
        for depth, layer in enumerate(layers, start=1):
            add(0, lr * layer_decay ** (len(layers) - depth), layer)
        add(1, lr * head_factor, self.head.parameters())
        add(1, lr * head_factor, self.upsampling.parameters())
        return list(groups.values())

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


def coarsest(features: Features) -> Tensor:
    """The coarsest feature map (B, K, h, w) among those of a backbone."""
    found: Tensor = features[-1] if isinstance(features, list) else features[0]
    return found


def _group(lr: float, weight_decay: float) -> dict[str, Any]:
    return {"params": [], "lr": lr, "weight_decay": weight_decay}


def backbone_layers(backbone: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of a backbone by depth: the stem, then each numbered block."""
    layers: dict[str, list[nn.Parameter]] = {"": []}
    name = ""
    for parameter_name, parameter in backbone.named_parameters():
        # What has no number, such as the convolution of a stem, goes with the block before it.
        if block := re.match(r"(?:.*?\.)??\d+(?=\.)", parameter_name):
            name = block[0]
        layers.setdefault(name, []).append(parameter)
    return [layer for layer in layers.values() if layer]
