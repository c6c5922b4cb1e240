"""The world in meters, the camera that looks at it, and colors.

World coordinates are meters: x to the right of the camera, y up from the ground, z forward. The
street bends to the side by ``curve * z**2``, so everything that is placed "along the street"
follows the bend without knowing of it.
"""

from __future__ import annotations

import math
from typing import NamedTuple, final

Point = tuple[float, float, float]
"""World point (x, y, z) in meters."""

Pixel = tuple[float, float]
"""Position on the canvas (column, row) in pixels."""

Color = tuple[float, float, float]
"""Red, green and blue, 0 to 255; may leave the range until it is painted."""

_NEAREST = 0.6
"""Depth in meters below which points are moved away, so that none lies behind the camera."""


def tint(color: Color, factor: float) -> Color:
    """A lighter (factor above 1) or darker color of the same hue."""
    return (color[0] * factor, color[1] * factor, color[2] * factor)


def blend(first: Color, second: Color, share: float) -> Color:
    """A mixture; ``share`` is that of the second color."""
    (r, g, b), (r1, g1, b1) = first, second
    return (r + (r1 - r) * share, g + (g1 - g) * share, b + (b1 - b) * share)


def circle(corners: int, turn: float = 0.0) -> list[tuple[float, float]]:
    """Cosine and sine of evenly spaced angles, the first of them ``turn``."""
    angles = [turn + math.tau * i / corners for i in range(corners)]
    return [(math.cos(a), math.sin(a)) for a in angles]


class Camera(NamedTuple):
    """A level pinhole camera; pitch enters through the row of the horizon."""

    width: int  # canvas width in pixels
    height: int  # canvas height in pixels
    focal: float  # focal length in pixels
    center: float  # column of the straight-ahead direction
    horizon: float  # row of the horizon
    eye: float  # height of the camera above the ground in meters
    curve: float = 0.0  # sideways bend of the street in 1/m

    def project(self, x: float, y: float, z: float) -> Pixel:
        """The canvas position of a world point."""
        z = max(z, _NEAREST)
        scale = self.focal / z
        return (
            self.center + (x + self.curve * z * z) * scale,
            self.horizon + (self.eye - y) * scale,
        )

    def scale(self, z: float) -> float:
        """Pixels per meter at depth z."""
        return self.focal / max(z, _NEAREST)

    def sees(self, x: float, z: float, margin: float) -> bool:
        """Whether something of half width ``margin`` meters at (x, z) touches the canvas."""
        (column, _), reach = self.project(x, 0.0, z), margin * self.scale(z)
        return -reach < column < self.width + reach

    @property
    def first_ground(self) -> float:
        """Depth in meters of the ground at the lower edge of the canvas."""
        return self.focal * self.eye / max(self.height - self.horizon, 1.0)


@final
class Pose:
    """Where an object stands and where it heads; maps its own axes to the world.

    The heading is in radians: 0 drives away from the camera, pi towards it, pi/2 to the right.
    """

    def __init__(self, x: float, z: float, heading: float) -> None:
        self.x, self.z, self.heading = x, z, heading
        self.sin, self.cos = math.sin(heading), math.cos(heading)

    def world(self, along: float, across: float, up: float) -> Point:
        """World point of a point given along the heading, to its right, and up, in meters."""
        return (
            self.x + along * self.sin + across * self.cos,
            up,
            self.z + along * self.cos - across * self.sin,
        )
