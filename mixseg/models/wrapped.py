"""Any module that returns logits, as a segmentation model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torch import Tensor, nn

from mixseg.errors import ConfigError
from mixseg.models.backbone import IMAGENET_MEAN, IMAGENET_STD
from mixseg.models.model import ModelSpec, SegmentationModel
from mixseg.models.upsampling import BilinearUpsampling
from mixseg.registry import PYTHON


def wrap(
    network: nn.Module,
    num_classes: int,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
) -> SegmentationModel:
    """A segmentation model around a module.

    Args:
        network: Called with normalized RGB images (B, 3, H, W), it returns logits (B, C, h, w) of
            any size, a mapping with them under ``out``, or an object with ``logits``.
        num_classes: C.
        mean: Mean of the RGB input in [0, 1]; by default that of ImageNet.
        std: Std of the RGB input; by default that of ImageNet.
    """
    spec = ModelSpec(
        architecture=PYTHON,
        backbone=type(network).__name__,
        num_classes=num_classes,
        output_stride=1,
        align_corners=False,
        mean=mean or IMAGENET_MEAN,
        std=std or IMAGENET_STD,
    )
    return SegmentationModel(spec, _Logits(network), _Last(), BilinearUpsampling(False))


@final
class _Logits(nn.Module):
    """The module, with its logits as a list of one map."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        output: Any = self.network(images)
        if isinstance(output, Mapping):
            output = output.get("out", output.get("logits"))
        output = getattr(output, "logits", output)
        if not isinstance(output, Tensor) or output.dim() != 4:
            raise ConfigError(
                f"{type(self.network).__name__} returned {type(output).__name__}: a network must "
                "return logits (batch, classes, height, width), a mapping with them under 'out', "
                "or an object with 'logits'"
            )
        return [output]


@final
class _Last(nn.Module):
    """The last of the maps."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        return maps[-1]
