"""DeepLabv2 on ResNet-101 as Table 3.1 of the thesis has it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from mixseg.models import SegmentationModel, build_model
from mixseg.models.deeplabv2 import AtrousPyramid
from tests.models.build import SMALL

BLOCKS = {"layer1": 3, "layer2": 4, "layer3": 23, "layer4": 3}
WIDTHS = {"layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}


@pytest.fixture(scope="module")
def thesis_model() -> SegmentationModel:
    """The network without storage: shapes and geometry need no weights."""
    with torch.device("meta"):
        spec = dataclasses.replace(SMALL, backbone="resnet101", num_classes=19, options={})
        return build_model(dataclasses.replace(spec, output_stride=8))


def convolution(before: int, after: int, size: int) -> int:
    return before * after * size * size


def test_parameters_are_those_of_the_table(thesis_model: SegmentationModel) -> None:
    # Counted from the table: convolutions without bias, each with a batch norm of two numbers a
    # channel, and a 1x1 convolution on the shortcut of the first block of each stage.
    count = convolution(3, 64, 7) + 2 * 64
    channels = 64
    for stage, width in WIDTHS.items():
        for block in range(BLOCKS[stage]):
            count += convolution(channels, width, 1) + 2 * width
            count += convolution(width, width, 3) + 2 * width
            count += convolution(width, 4 * width, 1) + 2 * 4 * width
            if block == 0:
                count += convolution(channels, 4 * width, 1) + 2 * 4 * width
            channels = 4 * width
    count += 4 * (convolution(2048, 19, 3) + 19)
    found = sum(parameter.numel() for parameter in thesis_model.parameters())
    assert found == count
    assert f"{found / 1e6:.2f}" == "43.90"


def test_stages_have_the_channels_and_strides_of_the_table(
    thesis_model: SegmentationModel,
) -> None:
    sizes = {}

    def remember(name: str) -> object:
        return lambda layer, inputs, output: sizes.update({name: tuple(output.shape[1:])})

    hooks = [
        thesis_model.backbone[stage].register_forward_hook(remember(stage))  # type: ignore[index, arg-type]
        for stage in BLOCKS
    ]
    thesis_model.eval()
    (features,) = thesis_model.backbone(torch.empty(1, 3, 512, 1024, device="meta"))
    for hook in hooks:
        hook.remove()
    assert features.shape == (1, 2048, 64, 128)
    assert sizes == {
        "layer1": (256, 128, 256),
        "layer2": (512, 64, 128),
        "layer3": (1024, 64, 128),
        "layer4": (2048, 64, 128),
    }
    assert {stage: len(thesis_model.backbone[stage]) for stage in BLOCKS} == BLOCKS  # type: ignore[index, arg-type]
    for stage, rate in {"layer3": 2, "layer4": 4}.items():
        # The first block of a stage still has the rate of the stage before.
        for block in list(thesis_model.backbone[stage])[1:]:  # type: ignore[index, call-overload]
            assert block.conv2.dilation == block.conv2.padding == (rate, rate)


@pytest.mark.parametrize("size", [(9, 11), (1, 1)])
@pytest.mark.parametrize("rates", [(6, 12, 18, 24), (3,)])
def test_head_has_the_gradients_of_atrous_convolutions(
    size: tuple[int, int], rates: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    head = AtrousPyramid(7, 5, rates).double()
    features = torch.rand(2, 7, *size, dtype=torch.double, requires_grad=True)
    found = head([features])
    plain = torch.stack([branch(features) for branch in head.branches]).sum(dim=0)
    torch.testing.assert_close(found, plain)
    upstream = torch.rand_like(found)
    expected = torch.autograd.grad(plain, (features, *head.parameters()), upstream)
    # Twice, as a step has two groups of images whose gradients add up.
    found.backward(upstream, retain_graph=True)
    found.backward(upstream)
    for tensor, gradient in zip((features, *head.parameters()), expected, strict=True):
        torch.testing.assert_close(tensor.grad, 2 * gradient)


def test_head_follows_autocast() -> None:
    head = AtrousPyramid(7, 3, (1, 3))
    features = torch.rand(2, 7, 9, 11)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = head([features])
        plain = torch.stack([branch(features) for branch in head.branches]).sum(dim=0)
    assert found.dtype == plain.dtype == torch.bfloat16
    torch.testing.assert_close(found, plain, rtol=0.02, atol=0.002)


def test_head_starts_from_small_normal_weights() -> None:
    torch.manual_seed(0)
    head = AtrousPyramid(256, 19, (6, 12, 18, 24))
    for branch in head.branches:
        assert isinstance(branch, nn.Conv2d)
        assert float(branch.weight.detach().std()) == pytest.approx(0.01, rel=0.03)
        assert float(branch.weight.detach().mean()) == pytest.approx(0, abs=2e-4)
        assert torch.equal(branch.bias, torch.zeros(19))  # type: ignore[arg-type]


@pytest.mark.parametrize("align_corners", [True, False])
def test_logits_are_upsampled_bilinearly(align_corners: bool) -> None:
    model = build_model(dataclasses.replace(SMALL, align_corners=align_corners)).eval()
    images = torch.rand(1, 3, 49, 65)
    small = model.head(model.backbone(model.normalisation(images)))
    expected = functional.interpolate(
        small, size=(49, 65), mode="bilinear", align_corners=align_corners
    )
    torch.testing.assert_close(model(images), expected)
