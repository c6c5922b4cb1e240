from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mixseg.styles import FourierStyle
from tests.styles.test_contract import generator, images


def transcribed(own: NDArray[np.float64], like: NDArray[np.float64], beta: float) -> NDArray[Any]:
    """The amplitude of the other in a window of beta times the sides around frequency 0."""
    result = np.empty_like(own)
    for channel in range(3):
        ours, theirs = (np.fft.fftshift(np.fft.fft2(one[channel])) for one in (own, like))
        amplitude, phase = np.abs(ours), np.angle(ours)
        height, width = ours.shape
        for row in range(height):
            for column in range(width):
                inside = abs(row - height // 2) <= beta * height
                if inside and abs(column - width // 2) <= beta * width:
                    amplitude[row, column] = np.abs(theirs[row, column])
        both = np.fft.ifft2(np.fft.ifftshift(amplitude * np.exp(1j * phase)))
        assert np.abs(both.imag).max() < 1e-9
        result[channel] = both.real
    return result.clip(0, 1)


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (17, 1), (20, 15)])
@pytest.mark.parametrize("beta", [0.0, 0.01, 0.09, 0.25])
def test_amplitudes_of_the_window_are_the_other_ones(size: tuple[int, int], beta: float) -> None:
    own, like = images(0, 2, *size), images(1, 2, *size)
    found = FourierStyle(beta)(own, like, generator())
    for image, other, result in zip(own, like, found, strict=True):
        expected = transcribed(image.double().numpy(), other.double().numpy(), beta)
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)


def test_beta_0_moves_the_mean_color_alone() -> None:
    own, like = 0.4 + 0.2 * images(0, 2, 20, 30), 0.4 + 0.2 * images(1, 2, 40, 10)
    found = FourierStyle(0.0)(own, like, generator())
    means = [one.mean(dim=(2, 3), keepdim=True) for one in (own, like)]
    torch.testing.assert_close(found, own - means[0] + means[1], rtol=0, atol=1e-4)


def test_a_drawn_beta_lies_below_the_one_that_is_given() -> None:
    own, like = (0.4 + 0.2 * images(seed, 1, 64, 64) for seed in (0, 1))  # nothing is cut off
    own = own.expand(300, 3, 64, 64)
    found = FourierStyle(0.25, drawn=True)(own, like, generator())
    # How many frequencies along the rows have changed tells beta, in steps of 1/64.
    differs = torch.fft.rfft2(found - own).abs().amax(dim=1)[:, 0] > 1e-2
    highest = differs.double().cumsum(dim=1).argmax(dim=1)
    assert int(highest.max()) == 15
    counts = highest.bincount(minlength=16)
    assert int(counts.min()) > 5, "uniform: 300 / 16 each"


def test_padding_adds_to_no_frequency() -> None:
    # A picture of one color that is padded with black has the mean of the other, not its edge.
    own = torch.full((1, 3, 32, 32), 0.2)
    valid = torch.ones(1, 32, 32, dtype=torch.bool)
    valid[:, :, 20:] = False
    own = own.where(valid.unsqueeze(1), 0)
    like = torch.full((1, 3, 32, 32), 0.7)
    found = FourierStyle(0.2)(own, like, generator(), valid)
    torch.testing.assert_close(found, torch.where(valid.unsqueeze(1), 0.7, own), rtol=0, atol=1e-5)
