"""How a trained network is applied to images: whole or in windows, with flips and scales.

A model is any module that is called with RGB float images in [0, 1], shape (B, 3, H, W), and
returns float logits of shape (B, C, H, W).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixseg.config.values import Factors
from mixseg.errors import ConfigError, DataError
from mixseg.ignore import max_and_argmax

Autocast = Callable[[], AbstractContextManager[object]]
"""Makes the context that each forward pass runs in, for example ``torch.autocast``."""

PADDING_COLOR = (0.485, 0.456, 0.406)
"""Fills a window that is larger than the image: the ImageNet mean, zero once normalized."""

BAND_ELEMENTS = 2**28
"""Most scores held at full output size at once: 1 GiB in float32."""


@final
@dataclass(frozen=True)
class InferenceMode:
    """How the prediction of an image is put together.

    Attributes:
        slide: Height and width of a sliding window; None shows the network the whole image.
        stride: Step of the window as a fraction of its size, in (0, 1].
        flip: Average with the prediction of the mirrored image.
        scales: Factors by which the image is resized; the predictions are averaged.

    Raises:
        ConfigError: A value is out of range.
    """

    slide: tuple[int, int] | None = None
    stride: float = 2 / 3
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if self.slide is not None and min(self.slide) < 1:
            raise ConfigError(f"the sliding window must be at least 1x1, found {self.slide}")
        if not 0 < self.stride <= 1:
            raise ConfigError(
                f"the stride is a fraction of the window in (0, 1], found {self.stride}"
            )
        if not self.scales:
            raise ConfigError("at least one scale is needed, found none")
        for scale in self.scales:
            if not 0 < scale <= Factors.high:
                raise ConfigError(f"scales must lie in (0, {Factors.high}], found {scale}")

    @property
    def is_single_pass(self) -> bool:
        """Whether one forward pass is all, so that nothing has to be averaged."""
        return self.slide is None and not self.flip and self.scales == (1.0,)

    def describe(self) -> str:
        """One line such as ``whole image, flip, scales 0.75/1/1.25``."""
        if self.slide is None:
            parts = ["whole image"]
        else:
            height, width = self.slide
            parts = [f"sliding window {height}x{width} with stride {self.stride:.2g}"]
        if self.flip:
            parts.append("flip")
        if self.scales != (1.0,):
            parts.append("scales " + "/".join(f"{scale:g}" for scale in self.scales))
        return ", ".join(parts)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode without gradients; afterwards every module is as it was.

    A plain ``model.train()`` at the end would unfreeze batch norm that training keeps frozen.
    """
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in before:
            module.training = training


def predict_probabilities(
    model: nn.Module,
    images: Tensor,
    mode: InferenceMode | None = None,
    *,
    size: tuple[int, int] | None = None,
    autocast: Autocast = nullcontext,
) -> Tensor:
    """Class probabilities, averaged over windows, flips and scales.

    Args:
        model: See the module's docstring. Its training modes are left as they were.
        images: float, shape (B, 3, H, W), in [0, 1].
        mode: Defaults to the whole image, once.
        size: Height and width of the result; defaults to those of the images.
        autocast: Makes the context of each forward pass.

    Returns:
        float32, shape (B, C, *size), an inference tensor; sums to 1 over the classes.
    """
    mode = mode or InferenceMode()
    size = size or _size(images)
    total: Tensor | None = None
    with evaluating(model):
        for scale in mode.scales:
            scaled = _resize(images, tuple(max(1, round(side * scale)) for side in _size(images)))
            for flipped in (False, True) if mode.flip else (False,):
                view = scaled.flip(-1) if flipped else scaled
                probabilities = _view_probabilities(model, view, mode, autocast)
                probabilities = probabilities.flip(-1) if flipped else probabilities
                probabilities = _resize(probabilities, size)
                total = probabilities if total is None else total.add_(probabilities)
        assert total is not None  # a mode has at least one scale
        return total.div_(len(mode.scales) * (2 if mode.flip else 1))


def predict_labels(
    model: nn.Module,
    images: Tensor,
    size: tuple[int, int] | None = None,
    mode: InferenceMode | None = None,
    *,
    autocast: Autocast = nullcontext,
    num_classes: int | None = None,
) -> Tensor:
    """The most likely class of each pixel: uint8 train ids, shape (B, *size).

    A single pass resizes the logits and takes their maximum; softmax is only computed where
    there is something to average.

    Args:
        model: As the other arguments, see :func:`predict_probabilities`.
        images: float, shape (B, 3, H, W), in [0, 1].
        size: Height and width of the result; defaults to those of the images.
        mode: Defaults to the whole image, once.
        autocast: Makes the context of each forward pass.
        num_classes: How many classes the model has to have; None takes any number.

    Raises:
        DataError: The model has another number of classes.
    """
    mode = mode or InferenceMode()
    with evaluating(model):
        if mode.is_single_pass:
            scores = _logits(model, images, autocast)
        else:
            scores = predict_probabilities(model, images, mode, autocast=autocast)
        if num_classes is not None and scores.shape[1] != num_classes:
            raise DataError(
                f"the network tells {scores.shape[1]} classes apart but the data has {num_classes}"
            )
        return resized_argmax(scores, size or _size(images))


def resized_argmax(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of scores (B, C, H, W), then argmax over the classes: uint8 (B, *size).

    The scores of a 100-megapixel photograph do not fit into memory at full size; their maximum
    does. So it is taken in bands of rows. Bilinear interpolation is separable: rows are blended
    first, columns after. Scores that are not enlarged already were in memory at that size.
    """
    batch, classes, rows, _ = scores.shape
    height, width = size
    band = max(1, BAND_ELEMENTS // (batch * classes * width))
    if height <= band or height <= rows:
        return max_and_argmax(_resize(scores, size))[1]
    labels = torch.empty((batch, *size), dtype=torch.uint8, device=scores.device)
    for top in range(0, height, band):
        bottom = min(top + band, height)
        # Where the centers of the output's rows fall, between the centers of the input's rows.
        center = torch.arange(top, bottom, device=scores.device, dtype=torch.float64) + 0.5
        center = (center * rows / height - 0.5).clamp(0, rows - 1)
        above = center.floor().long()
        weight = (center - above).to(scores.dtype)[:, None]
        blended = torch.lerp(
            scores[:, :, above], scores[:, :, (above + 1).clamp(max=rows - 1)], weight
        )
        labels[:, top:bottom] = max_and_argmax(_resize(blended, (bottom - top, width)))[1]
    return labels


def window_starts(length: int, window: int, stride: float) -> list[int]:
    """Increasing offsets at which windows begin so that they cover a side of an image.

    The side is at least as long as a window, both in pixels; the stride is a fraction of the
    window. The last window is moved back to end at the border.
    """
    step = max(1, int(window * stride))
    return [*range(0, length - window, step), length - window]


def _view_probabilities(
    model: nn.Module, images: Tensor, mode: InferenceMode, autocast: Autocast
) -> Tensor:
    """Softmax of one scaled, perhaps mirrored view: of the whole, or the mean over windows."""
    if mode.slide is None:
        return _logits(model, images, autocast).softmax(dim=1)
    height, width = _size(images)
    window_height, window_width = mode.slide
    images = _pad_to(images, mode.slide)
    padded_height, padded_width = _size(images)
    total: Tensor | None = None
    cover = images.new_zeros((padded_height, padded_width), dtype=torch.float32)
    for top in window_starts(padded_height, window_height, mode.stride):
        for left in window_starts(padded_width, window_width, mode.stride):
            rows, columns = slice(top, top + window_height), slice(left, left + window_width)
            window = _logits(model, images[..., rows, columns], autocast).softmax(dim=1)
            if total is None:
                total = window.new_zeros((*window.shape[:2], padded_height, padded_width))
            total[..., rows, columns] += window
            cover[rows, columns] += 1
    assert total is not None  # a side has at least one window
    return total.div_(cover)[..., :height, :width]


def _pad_to(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Grow images to the right and below to at least ``size``."""
    height, width = _size(images)
    if height >= size[0] and width >= size[1]:
        return images
    color = images.new_tensor(PADDING_COLOR).view(1, 3, 1, 1)
    shape = (images.shape[0], 3, max(height, size[0]), max(width, size[1]))
    padded = color.expand(shape).clone()
    padded[..., :height, :width] = images
    return padded


def _logits(model: nn.Module, images: Tensor, autocast: Autocast) -> Tensor:
    """Forward pass; float32 whatever the autocast gives, so that averages stay exact enough."""
    with autocast():
        logits: Tensor = model(images)
    return logits.float()


def _resize(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bilinear, smoothed if a side shrinks, and the very same tensor if nothing changes."""
    height, width = _size(images)
    if (height, width) == size:
        return images
    shrinks = size[0] < height or size[1] < width
    if shrinks and size[1] == 1 < size[0]:
        # torch 2.15 fills a smoothed result of one column with its first pixel; a row it gets
        # right.
        return _resize(images.mT, size[::-1]).mT
    return functional.interpolate(images, size=size, mode="bilinear", antialias=shrinks)


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]
