"""The stage of one scene: what is known about it, and the things waiting to be painted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, final

from mixseg.scenes.canvas import Canvas
from mixseg.scenes.street import Street
from mixseg.scenes.world import Color

# Painting order. A thing nearer to the middle of the street hides one farther out, whatever
# their depths, because a line of sight leaves the street only once.
BUILT: Final = 0
GARDEN: Final = 1
BOUNDARY: Final = 2
STREET: Final = 3


@final
class Stage:
    """Collects the things of a scene and paints them back to front."""

    def __init__(self, canvas: Canvas, street: Street) -> None:
        self.canvas, self.camera, self.dice = canvas, canvas.camera, canvas.dice
        self.style, self.street = canvas.style, street
        self.leaves = (self.color("leaves"), self.color("leaves"))
        """Crown colors of this scene: trees of one season look alike."""
        self.metal = self.color("metal")
        """Color of this street's poles."""
        self._things: list[tuple[int, int, float, Callable[[], None]]] = []

    def color(self, material: str) -> Color:
        """A color that the material may have in this scene's look."""
        return self.style.color(material, self.dice)

    def crossed(self, z: float) -> bool:
        """Whether depth z lies on the crossing street."""
        crossing = self.street.crossing
        return crossing is not None and crossing[0] - 1 < z < crossing[1] + 1

    def add(self, layer: int, depth: float, draw: Callable[..., None], *arguments: object) -> None:
        """Put a thing on the stage: ``draw(canvas, *arguments)`` paints it."""
        paint = partial(draw, self.canvas, *arguments)
        self._things.append((self._block(depth), layer, -depth, paint))

    def paint(self) -> None:
        """Paint everything on the stage, the farthest first."""
        for *_, paint in sorted(self._things, key=lambda thing: thing[:3]):
            paint()

    def _block(self, depth: float) -> int:
        """0 behind the crossing street, 1 on it, 2 before it.

        What crosses leaves the street sideways, so there the layers do not tell what hides what;
        whole blocks do.
        """
        if self.street.block is None:
            return 0
        near, far = self.street.block
        return int(depth < far) + int(depth < near)
