"""The stage of one scene: what is known about it, and the things waiting to be painted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from mixseg.data.demo.canvas import Canvas, Colour
from mixseg.data.demo.dice import Dice
from mixseg.data.demo.geometry import Camera
from mixseg.data.demo.looks import Style
from mixseg.data.demo.street import PAVEMENT, Street

# Painting order. A thing nearer to the middle of the street hides one farther out, whatever
# their depths, because a line of sight leaves the street only once.
BUILT: Final = 0
GARDEN: Final = 1
BOUNDARY: Final = 2
STREET: Final = 3


@final
@dataclass(frozen=True)
class Thing:
    """Something to paint: its layer, its depth in metres, and how."""

    layer: int
    depth: float
    paint: Callable[[], None]


@final
class Stage:
    """Collects the things of a scene and paints them back to front.

    Args:
        canvas: Where the scene is painted.
        camera: The camera that the canvas projects with.
        style: Weather and colours.
        street: Plan of the street.
        dice: Randomness.
    """

    def __init__(
        self, canvas: Canvas, camera: Camera, style: Style, street: Street, dice: Dice
    ) -> None:
        self.canvas, self.camera, self.style = canvas, camera, style
        self.street, self.dice = street, dice
        self.leaves = tuple(style.colour("leaves", dice) for _ in range(2))
        """Crown colours of this scene: trees of one season look alike."""
        self.metal = style.colour("metal", dice)
        """Colour of this street's poles."""
        self._things: list[Thing] = []

    def colour(self, material: str) -> Colour:
        """A colour that the material may have in this scene's look."""
        return self.style.colour(material, self.dice)

    def crossed(self, z: float) -> bool:
        """Whether depth z lies on the crossing street."""
        crossing = self.street.crossing
        return crossing is not None and crossing[0] - 1 < z < crossing[1] + 1

    def add(self, layer: int, depth: float, paint: Callable[[], None]) -> None:
        """Puts a thing on the stage."""
        self._things.append(Thing(layer, depth, paint))

    def paint(self) -> None:
        """Paints everything on the stage, the farthest first."""
        for thing in sorted(self._things, key=lambda t: (self._block(t), t.layer, -t.depth)):
            thing.paint()

    def _block(self, thing: Thing) -> int:
        """0 behind the crossing street, 1 on it, 2 before it.

        What crosses leaves the street sideways, so there the layers do not tell what hides what;
        whole blocks do.
        """
        crossing = self.street.crossing
        if crossing is None:
            return 0
        near, far = crossing[0] - PAVEMENT, crossing[1] + PAVEMENT
        return int(thing.depth < far) + int(thing.depth < near)
