"""Dilated depthwise convolutions against torch's own."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mixseg.models.dilated_depthwise import DilatedDepthwise, fits, use_dilated_depthwise


def depthwise(
    kernel: tuple[int, int], dilation: tuple[int, int], *, bias: bool, channels: int = 3
) -> nn.Conv2d:
    padding = (dilation[0] * (kernel[0] // 2), dilation[1] * (kernel[1] // 2))
    return nn.Conv2d(
        channels,
        channels,
        kernel,
        padding=padding,
        dilation=dilation,
        groups=channels,
        bias=bias,
        dtype=torch.float64,
    )


odd = st.sampled_from([1, 3, 5])
rate = st.integers(1, 4)


@given(
    kernel=st.tuples(odd, odd),
    dilation=st.tuples(rate, rate).filter(lambda rates: max(rates) > 1),
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    bias=st.booleans(),
)
def test_values_and_gradients_are_those_of_the_dilated_convolution(
    kernel: tuple[int, int], dilation: tuple[int, int], size: tuple[int, int], bias: bool
) -> None:
    torch.manual_seed(0)
    torchs = depthwise(kernel, dilation, bias=bias)
    assert fits(torchs)
    ours = DilatedDepthwise.of(copy.deepcopy(torchs))
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    wanted, found = images.clone().requires_grad_(), images.clone().requires_grad_()
    slope = torch.randn(2, 3, *size, dtype=torch.float64)
    (torchs(wanted) * slope).sum().backward()
    answer = ours(found)
    (answer * slope).sum().backward()
    torch.testing.assert_close(answer, torchs(images))
    torch.testing.assert_close(found.grad, wanted.grad)
    for name, parameter in torchs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad, parameter.grad)


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(4, 4, 3, padding=1, groups=4),  # no dilation
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),  # not depthwise
        nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=4),  # several outputs of a channel
        nn.Conv2d(4, 4, 3, padding=1, dilation=2, groups=4),  # smaller than its input
        nn.Conv2d(4, 4, 3, stride=2, padding=2, dilation=2, groups=4),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, padding_mode="reflect"),
        nn.Conv2d(4, 4, 2, padding="same", dilation=2, groups=4),
    ],
)
def test_other_layers_stay_as_they_are(other: nn.Module) -> None:
    network = nn.Sequential(other)
    use_dilated_depthwise(network)
    assert network[0] is other


def test_a_mobile_backbone_keeps_its_answer_and_the_names_of_its_weights() -> None:
    torch.manual_seed(0)
    before = timm.create_model("tf_efficientnet_lite0", features_only=True, output_stride=8).eval()
    after = copy.deepcopy(before)
    use_dilated_depthwise(after)
    assert sum(isinstance(layer, DilatedDepthwise) for layer in after.modules()) == 10
    assert list(after.state_dict()) == list(before.state_dict())
    images = torch.randn(1, 3, 50, 70).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        for found, wanted in zip(after(images), before(images), strict=True):
            torch.testing.assert_close(found, wanted)


def test_bf16_autocast_reaches_it() -> None:
    layer = DilatedDepthwise.of(depthwise((3, 3), (2, 2), bias=True).float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = layer(torch.randn(1, 3, 8, 8))
    assert answer.dtype is torch.bfloat16
    answer.float().sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.dtype is torch.float32
