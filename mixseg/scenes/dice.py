"""Cheap random draws; a scene needs thousands of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

T = TypeVar("T")


@final
class Dice:
    """Plain floats from a numpy generator.

    One call of a ``Generator`` method costs about as much as drawing a small polygon, so the
    uniform numbers are fetched 1024 at a time.

    Args:
        generator: Source of all randomness.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self._stock: list[float] = []

    def unit(self) -> float:
        """A number in [0, 1)."""
        if not self._stock:
            self._stock = self.generator.random(1024).tolist()
        return self._stock.pop()

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.unit()

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int((high - low + 1) * self.unit())

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.unit() < probability

    def sign(self) -> float:
        """-1 or 1."""
        return 1.0 if self.unit() < 0.5 else -1.0

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices, all equally likely."""
        return choices[int(len(choices) * self.unit())]

    def weighted(self, weights: dict[str, float]) -> str:
        """A key of ``weights``, with a probability proportional to its value."""
        left = self.unit() * sum(weights.values())
        for name, weight in weights.items():
            left -= weight
            if left < 0:
                return name
        return name

    def noise(self, shape: tuple[int, int], across: int, down: int) -> NDArray[np.float32]:
        """Smooth noise, shape (height, width), with a number of knots across and down."""
        height, width = shape
        knots = Image.fromarray(self.generator.standard_normal((down, across), dtype=np.float32))
        return np.array(knots.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
