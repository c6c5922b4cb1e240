"""The camera, and the surface on which one polygon fill paints both color and label.

World coordinates are meters: x to the right of the camera, y up from the ground, z forward. The
street bends to the side by ``curve * z**2``, so everything that is placed "along the street"
follows the bend without knowing of it.

The surface is an RGBA image whose fourth channel holds the label id instead of an opacity.
``ImageDraw`` writes all four channels as they are, so image and label cannot disagree and no
label is ever blended with another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from PIL import Image, ImageDraw

from mixseg.data.arrays import ImageArray, LabelArray
from mixseg.scenes.dice import Dice
from mixseg.scenes.labels import SKY

Point = tuple[float, float, float]
"""World point (x, y, z) in meters."""

Pixel = tuple[float, float]
"""Position on the canvas (column, row) in pixels."""

Color = tuple[float, float, float]
"""Red, green and blue, 0 to 255; may leave the range until it is painted."""

SUPERSAMPLING = 2
"""Canvas pixels per image pixel in each direction."""

_NEAREST = 0.6
"""Depth in meters below which points are moved away, so that none lies behind the camera."""


def tint(color: Color, factor: float) -> Color:
    """A lighter (factor above 1) or darker color of the same hue."""
    return (color[0] * factor, color[1] * factor, color[2] * factor)


def blend(first: Color, second: Color, share: float) -> Color:
    """A mixture; ``share`` is that of the second color."""
    r, g, b = first
    return (r + (second[0] - r) * share, g + (second[1] - g) * share, b + (second[2] - b) * share)


def circle(corners: int, turn: float = 0.0) -> list[tuple[float, float]]:
    """Cosine and sine of evenly spaced angles, the first of them ``turn``."""
    angles = [turn + math.tau * i / corners for i in range(corners)]
    return [(math.cos(a), math.sin(a)) for a in angles]


_CIRCLE = circle(12)


@final
@dataclass(frozen=True)
class Camera:
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
        if z < _NEAREST:
            z = _NEAREST
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
        scale = self.scale(z)
        column = self.center + (x + self.curve * z * z) * scale
        reach = margin * scale
        return -reach < column < self.width + reach

    @property
    def first_ground(self) -> float:
        """Depth in meters of the ground at the lower edge of the canvas."""
        return self.focal * self.eye / max(self.height - self.horizon, 1.0)


@final
class Pose:
    """Where an object stands and where it heads; maps its own axes to the world.

    Args:
        x: Position to the right in meters.
        z: Position forward in meters.
        heading: Radians; 0 drives away from the camera, pi towards it, pi/2 to the right.
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


@final
class Canvas:
    """Paints world polygons with light from a sun and haze that grows with depth.

    Args:
        camera: Projection from meters to canvas pixels.
        sky: RGB backdrop in the size of the canvas.
        dice: Draws the details of what is painted.
        sun: Unit vector towards the sun (x, y, z).
        ambient: Brightness of a surface that faces away from the sun; one that faces it has 1.
        haze: Color that far things fade into.
        visibility: Depth in meters at which 63 % of a color has faded.
    """

    def __init__(
        self,
        camera: Camera,
        sky: Image.Image,
        dice: Dice,
        *,
        sun: Point,
        ambient: float,
        haze: Color,
        visibility: float,
    ) -> None:
        self.camera, self.dice = camera, dice
        self.sun, self.ambient, self.haze, self.visibility = sun, ambient, haze, visibility
        self._surface = sky.convert("RGBA")
        self._surface.putalpha(SKY)
        self._draw = ImageDraw.Draw(self._surface)
        # Shadows lie on the ground whatever is drawn there later, so they are kept apart.
        final_size = (camera.width // SUPERSAMPLING, camera.height // SUPERSAMPLING)
        self._shadow = Image.new("L", final_size)
        self._shadow_draw = ImageDraw.Draw(self._shadow)

    def light(self, normal: Point) -> float:
        """Brightness of a surface with the given unit normal."""
        facing = normal[0] * self.sun[0] + normal[1] * self.sun[1] + normal[2] * self.sun[2]
        return self.ambient + (1.0 - self.ambient) * max(0.0, facing)

    def ink(self, color: Color, label: int, depth: float = 0.0) -> tuple[int, int, int, int]:
        """The four channel values of a color seen through the haze at a depth in meters."""
        r, g, b = blend(color, self.haze, 1.0 - math.exp(-depth / self.visibility))
        r, g, b = (min(255, max(0, int(value))) for value in (r, g, b))
        return r, g, b, label

    def polygon(self, points: Sequence[Point], color: Color, label: int) -> None:
        """Fill a polygon given in the world."""
        project = self.camera.project
        self.fill([project(*p) for p in points], color, label, points[0][2])

    def board(
        self, x0: float, x1: float, y0: float, y1: float, z: float, color: Color, label: int
    ) -> None:
        """Fill a rectangle that faces the camera, in meters."""
        self.polygon([(x0, y0, z), (x0, y1, z), (x1, y1, z), (x1, y0, z)], color, label)

    def fill(self, outline: Sequence[Pixel], color: Color, label: int, depth: float = 0.0) -> None:
        """Fill a polygon given on the canvas, at a depth in meters; 0 is without haze."""
        self._draw.polygon(outline, fill=self.ink(color, label, depth))

    def limb(self, start: Point, end: Point, thickness: float, color: Color, label: int) -> None:
        """A bar between two world points, as thick as given in meters from every side."""
        a, b = self.camera.project(*start), self.camera.project(*end)
        width = max(1, round(thickness * self.camera.scale(start[2])))
        ink = self.ink(color, label, start[2])
        self._draw.line((a, b), fill=ink, width=width)
        if width > 3:
            for x, y in (a, b):
                r = 0.5 * width - 0.5
                self._draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)

    def ball(self, center: Point, radius: float, color: Color, label: int) -> None:
        """A disc that faces the camera, with its radius in meters."""
        x, y = self.camera.project(*center)
        r = max(0.5, radius * self.camera.scale(center[2]))
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=self.ink(color, label, center[2]))

    def blob(
        self, center: Pixel, radii: Pixel, ruggedness: float, color: Color, label: int, depth: float
    ) -> None:
        """An ellipse with a ragged outline, given on the canvas."""
        (x, y), (rx, ry) = center, radii
        outline = []
        for cos, sin in _CIRCLE:
            r = 1.0 - ruggedness * self.dice.unit()
            outline.append((x + rx * r * cos, y + ry * r * sin))
        self.fill(outline, color, label, depth)

    def relabel(self, outlines: Sequence[Sequence[Point]], label: int) -> None:
        """Label world polygons without painting them: one sees through a fence's gaps."""
        labels = self._surface.getchannel("A")
        draw = ImageDraw.Draw(labels)
        for outline in outlines:
            draw.polygon([self.camera.project(*p) for p in outline], fill=label)
        self._surface.putalpha(labels)

    def shade_ground(self, points: Sequence[Point], strength: float) -> None:
        """Darken the ground inside a world polygon by ``strength`` (0 to 1)."""
        outline = []
        for p in points:
            x, y = self.camera.project(*p)
            outline.append((x / SUPERSAMPLING, y / SUPERSAMPLING))
        self._shadow_draw.polygon(outline, fill=int(255 * strength))

    def shade_below(self, pose: Pose, length: float, width: float, height: float) -> None:
        """The shadow under and beside something, away from the sun."""
        reach, side = 0.5 * length, 0.5 * width
        corners = ((-reach, -side), (reach, -side), (reach, side), (-reach, side))
        base = [pose.world(along, across, 0.0) for along, across in corners]
        shift = -0.6 * height * self.sun[0]
        self.shade_ground([(x + shift, y, z) for x, y, z in base], 0.42)
        self.shade_ground(base, 0.66)

    def arrays(self) -> tuple[ImageArray, LabelArray, Image.Image]:
        """The image averaged to its final size, the label, and the shadow map (mode L)."""
        image = np.asarray(self._surface.convert("RGB").reduce(SUPERSAMPLING))
        label = np.asarray(self._surface.getchannel("A"))[::SUPERSAMPLING, ::SUPERSAMPLING]
        return image, np.ascontiguousarray(label), self._shadow
