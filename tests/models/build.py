"""Small networks for tests."""

from __future__ import annotations

import dataclasses

import torch

from mixseg.models import ModelSpec, SegmentationModel, build_model

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

SMALL = ModelSpec(
    architecture="deeplabv2",
    backbone="test_resnet",
    num_classes=5,
    output_stride=16,
    options={"model.rates": (1, 2)},
    align_corners=True,
    mean=MEAN,
    std=STD,
)


def small_model(seed: int = 0, **changes: object) -> SegmentationModel:
    """A network of 0.4 million parameters whose logits differ visibly between pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(dataclasses.replace(SMALL, **changes))  # type: ignore[arg-type]
        with torch.no_grad():
            for parameter in model.head.parameters():
                parameter.mul_(10)
    return model
