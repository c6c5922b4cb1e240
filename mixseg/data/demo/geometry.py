"""The pinhole camera above a flat, possibly bending street.

World coordinates are metres: x to the right of the camera, y up from the ground, z forward. The
street bends to the side by ``curve * z**2``, so everything that is placed "along the street"
follows the bend without knowing of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

Point = tuple[float, float, float]
"""World point (x, y, z) in metres."""

Pixel = tuple[float, float]
"""Position on the canvas (column, row) in pixels."""

NEAREST = 0.6
"""Depth in metres below which points are moved away, so that none lies behind the camera."""


@final
@dataclass(frozen=True)
class Camera:
    """A level pinhole camera; pitch enters through the row of the horizon.

    Attributes:
        width: Canvas width in pixels.
        height: Canvas height in pixels.
        focal: Focal length in pixels.
        centre: Column of the straight-ahead direction.
        horizon: Row of the horizon.
        eye: Height of the camera above the ground in metres.
        curve: Sideways bend of the street in 1/m.
    """

    width: int
    height: int
    focal: float
    centre: float
    horizon: float
    eye: float
    curve: float = 0.0

    def project(self, x: float, y: float, z: float) -> Pixel:
        """The canvas position of a world point."""
        if z < NEAREST:
            z = NEAREST
        scale = self.focal / z
        return (
            self.centre + (x + self.curve * z * z) * scale,
            self.horizon + (self.eye - y) * scale,
        )

    def scale(self, z: float) -> float:
        """Pixels per metre at depth z."""
        return self.focal / max(z, NEAREST)

    def sees(self, x: float, z: float, margin: float) -> bool:
        """Whether something of half width ``margin`` metres at (x, z) touches the canvas."""
        scale = self.scale(z)
        column = self.centre + (x + self.curve * z * z) * scale
        reach = margin * scale
        return -reach < column < self.width + reach

    @property
    def first_ground(self) -> float:
        """Depth in metres of the ground at the lower edge of the canvas."""
        return self.focal * self.eye / max(self.height - self.horizon, 1.0)


@final
class Pose:
    """Where an object stands and where it heads; maps its own axes to the world.

    Args:
        x: Position to the right in metres.
        z: Position forward in metres.
        heading: Radians; 0 drives away from the camera, pi towards it, pi/2 to the right.
    """

    def __init__(self, x: float, z: float, heading: float) -> None:
        self.x, self.z, self.heading = x, z, heading
        self.sin, self.cos = math.sin(heading), math.cos(heading)

    def world(self, along: float, across: float, up: float) -> Point:
        """World point of a point given along the heading, to its right, and up, in metres."""
        return (
            self.x + along * self.sin + across * self.cos,
            up,
            self.z + along * self.cos - across * self.sin,
        )


def signed_area(outline: list[Pixel]) -> float:
    """Twice the area of a polygon; positive where its points run clockwise on the screen."""
    area = 0.0
    x0, y0 = outline[-1]
    for x1, y1 in outline:
        area += x0 * y1 - x1 * y0
        x0, y0 = x1, y1
    return area
