"""Dilated depthwise convolutions, as mobile backbones at stride 8 or 16 have, faster on CPUs."""

from __future__ import annotations

from typing import Self, TypeGuard, TypeVar, final

from torch import Tensor, nn
from torch.nn import functional

Kind = TypeVar("Kind", bound=nn.Conv2d)


@final
class DilatedDepthwise(nn.Conv2d):
    """The same convolution; on a CPU it is computed as a plain one on every d-th pixel.

    With dilation d an output depends on input pixels whose row and column leave its own remainder
    when divided by d. The image therefore falls into d * d smaller ones, the phases, on which the
    convolution has no dilation, and for which the library has a fast kernel where dilated
    depthwise ones have a slow one.
    """

    @classmethod
    def of(cls, convolution: nn.Conv2d) -> Self:
        """With the parameters of a convolution that :func:`fits`."""
        return _with_parameters_of(convolution, cls)

    def plain(self) -> nn.Conv2d:
        """The library's, with these parameters."""
        return _with_parameters_of(self, nn.Conv2d)

    def forward(self, images: Tensor) -> Tensor:
        """See :class:`torch.nn.Conv2d`."""
        if images.device.type != "cpu":
            return super().forward(images)
        batch, channels, height, width = images.shape
        (down, across), (tall, wide) = self.dilation, self.kernel_size
        # The kernel for gradients of weights is slow on images that are lower than the kernel.
        rows, columns = max(-(-height // down), tall), -(-width // across)
        pixels = functional.pad(
            images.permute(0, 2, 3, 1),
            (0, 0, 0, columns * across - width, 0, rows * down - height),
        )
        phases = (
            pixels.view(batch, rows, down, columns, across, channels)
            .permute(2, 4, 0, 1, 3, 5)
            .reshape(down * across * batch, rows, columns, channels)
        )
        answers = functional.conv2d(
            phases.permute(0, 3, 1, 2),
            self.weight,
            self.bias,
            padding=(tall // 2, wide // 2),
            groups=channels,
        )
        whole = (
            answers.permute(0, 2, 3, 1)
            .reshape(down, across, batch, rows, columns, channels)
            .permute(2, 3, 0, 4, 1, 5)
            .reshape(batch, rows * down, columns * across, channels)
        )
        return whole.permute(0, 3, 1, 2)[:, :, :height, :width]


def _with_parameters_of(convolution: nn.Conv2d, kind: type[Kind]) -> Kind:
    """A convolution of a kind that shares, and does not copy, the parameters of another."""
    same = kind(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,  # type: ignore[arg-type]
        padding=convolution.padding,  # type: ignore[arg-type]
        dilation=convolution.dilation,  # type: ignore[arg-type]
        groups=convolution.groups,
        bias=convolution.bias is not None,
        device="meta",
    )
    same.weight, same.bias = convolution.weight, convolution.bias
    return same


def fits(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a layer is a dilated depthwise convolution that keeps the size of its input."""
    return (
        type(layer) is nn.Conv2d
        and layer.groups == layer.in_channels == layer.out_channels
        and max(layer.dilation) > 1
        and max(layer.stride) == 1
        and layer.padding_mode == "zeros"
        and all(size % 2 == 1 for size in layer.kernel_size)
        and layer.padding
        == tuple(
            rate * (size // 2) for rate, size in zip(layer.dilation, layer.kernel_size, strict=True)
        )
    )


def use_dilated_depthwise(network: nn.Module) -> None:
    """Put :class:`DilatedDepthwise` in place of every layer of a network that :func:`fits`."""
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if fits(layer):
                setattr(parent, name, DilatedDepthwise.of(layer))
