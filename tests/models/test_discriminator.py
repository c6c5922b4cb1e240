"""The discriminator against Figure 3-6 and Table 4-8 of Kim."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mixseg.models import Discriminator


@pytest.mark.parametrize(("classes", "millions"), [(19, 2.78), (21, 2.79)])
def test_parameters_of_table_4_8(classes: int, millions: float) -> None:
    counted = sum(parameter.numel() for parameter in Discriminator(classes).parameters())
    assert counted == pytest.approx(millions * 1e6, rel=0.01)
    # Counted by hand: 4x4 kernels, a bias where no batch norm follows, scale and shift, 512 + 1.
    kernels = 16 * (classes * 64 + 64 * 128 + 128 * 256 + 256 * 512)
    assert counted == kernels + 64 + 2 * (128 + 256 + 512) + 513


@pytest.mark.parametrize(("size", "classes"), [((1, 1), 2), ((2, 3), 11), ((96, 50), 64)])
def test_any_size_and_class_count(size: tuple[int, int], classes: int) -> None:
    judged = Discriminator(classes)(torch.rand(2, classes, *size))
    assert (judged.shape, judged.dtype) == ((2, *size), torch.float32)
    assert ((judged > 0) & (judged < 1)).all()


@pytest.mark.parametrize("size", [(32, 48), (21, 37)])
def test_against_a_transcription(size: tuple[int, int]) -> None:
    network = Discriminator(5).double()
    with torch.no_grad():
        for norm in network.norms:
            norm.bias.normal_()
    maps = torch.rand(3, 5, *size, dtype=torch.float64)
    weights = network.state_dict()
    features: Tensor = maps
    for layer in range(4):
        height, width = features.shape[-2:]
        canvas = torch.zeros(*features.shape[:2], height + 4, width + 4, dtype=torch.float64)
        canvas[..., 1 : height + 1, 1 : width + 1] = features
        windows = canvas.unfold(2, 4, 2).unfold(3, 4, 2)
        windows = windows[:, :, : math.ceil(height / 2), : math.ceil(width / 2)]
        features = torch.einsum(
            "bchwij,ocij->bohw", windows, weights[f"convolutions.{layer}.weight"]
        )
        if layer == 0:
            features = features + weights["convolutions.0.bias"][:, None, None]
        else:
            mean = features.mean((0, 2, 3), keepdim=True)
            spread = features.var((0, 2, 3), unbiased=False, keepdim=True)
            features = (features - mean) / (spread + 1e-5).sqrt()
            scale, shift = (weights[f"norms.{layer - 1}.{name}"] for name in ("weight", "bias"))
            features = features * scale[:, None, None] + shift[:, None, None]
        features = features.where(features > 0, 0.2 * features)
    logits = torch.einsum("bchw,c->bhw", features, weights["judge.weight"][0, :, 0, 0])
    judged = 1 / (1 + torch.exp(-(logits + weights["judge.bias"])))
    expected = functional.interpolate(judged[:, None].float(), size=size, mode="bilinear")[:, 0]
    assert torch.allclose(network(maps), expected, atol=1e-6)
