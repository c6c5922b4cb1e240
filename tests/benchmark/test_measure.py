"""What the benchmark counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mixseg.benchmark.measure import operations


@pytest.mark.parametrize("groups", [1, 4, 8])
@pytest.mark.parametrize("transposed", [False, True])
def test_operations_of_a_convolution_and_its_gradients(groups: int, transposed: bool) -> None:
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = kind(8, 16, kernel_size=3, stride=2, padding=1, groups=groups)
    images = torch.rand(2, 8, 6, 10, requires_grad=True)
    # Every pixel of the smaller side meets every tap of the kernels that see its channel.
    pixels = 6 * 10 if transposed else 3 * 5
    forward = 2 * 2 * pixels * 9 * 8 * 16 // groups
    assert operations(lambda: layer(images.detach())) == forward
    assert operations(lambda: layer(images.detach()).sum().backward()) == 2 * forward
    assert operations(lambda: layer(images).sum().backward()) == 3 * forward
