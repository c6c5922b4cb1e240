"""``vgg_tiny``: a VGG network of timm's class and names with 0.3 million parameters."""

from __future__ import annotations

from timm.models import register_model
from timm.models.vgg import VGG


@register_model
def vgg_tiny(pretrained: bool = False, num_classes: int = 10, **ignored: object) -> VGG:
    assert not pretrained
    layers = [4, "M", 6, "M", 8, "M", 10, 10, "M", 12, "M"]
    return VGG(layers, num_classes=num_classes, mlp_ratio=1 / 64)
