"""The surface on which one polygon fill paints both color and label.

The surface is an RGBA image whose fourth channel holds the label id instead of an opacity.
``ImageDraw`` writes all four channels as they are, so image and label cannot disagree and no
label is ever blended with another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np
from PIL import Image, ImageDraw

from mixseg.data.images import ImageArray, LabelArray
from mixseg.scenes.dice import Dice
from mixseg.scenes.labels import SKY
from mixseg.scenes.looks import Style, paint_sky
from mixseg.scenes.world import Camera, Color, Pixel, Point, Pose, blend, circle

SUPERSAMPLING = 2
"""Canvas pixels per image pixel in each direction."""

_CIRCLE = circle(12)


@final
class Canvas:
    """Paints world polygons with light from a sun and haze that grows with depth.

    Args:
        camera: Projection from meters to canvas pixels.
        style: Light and haze.
        dice: Draws the clouds and the details of what is painted.
    """

    def __init__(self, camera: Camera, style: Style, dice: Dice) -> None:
        self.camera, self.style, self.dice = camera, style, dice
        self._surface = paint_sky(camera, style, dice).convert("RGBA")
        self._surface.putalpha(SKY)
        self._draw = ImageDraw.Draw(self._surface)
        # Shadows lie on the ground whatever is drawn there later, so they are kept apart.
        final_size = (camera.width // SUPERSAMPLING, camera.height // SUPERSAMPLING)
        self._shadow = Image.new("L", final_size)
        self._shadow_draw = ImageDraw.Draw(self._shadow)

    def light(self, normal: Point) -> float:
        """Brightness of a surface with the given unit normal."""
        sun, ambient = self.style.sun, self.style.ambient
        facing = normal[0] * sun[0] + normal[1] * sun[1] + normal[2] * sun[2]
        return ambient + (1.0 - ambient) * max(0.0, facing)

    def ink(self, color: Color, label: int, depth: float = 0.0) -> tuple[int, int, int, int]:
        """The four channel values of a color seen through the haze at a depth in meters."""
        r, g, b = blend(color, self.style.haze, 1.0 - math.exp(-depth / self.style.visibility))
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
        pixels = (self.camera.project(*p) for p in points)
        outline = [(x / SUPERSAMPLING, y / SUPERSAMPLING) for x, y in pixels]
        self._shadow_draw.polygon(outline, fill=int(255 * strength))

    def shade_below(self, pose: Pose, length: float, width: float, height: float) -> None:
        """The shadow under and beside something, away from the sun."""
        reach, side = 0.5 * length, 0.5 * width
        corners = ((-reach, -side), (reach, -side), (reach, side), (-reach, side))
        base = [pose.world(along, across, 0.0) for along, across in corners]
        shift = -0.6 * height * self.style.sun[0]
        self.shade_ground([(x + shift, y, z) for x, y, z in base], 0.42)
        self.shade_ground(base, 0.66)

    def arrays(self) -> tuple[ImageArray, LabelArray, Image.Image]:
        """The image averaged to its final size, the label, and the shadow map (mode L)."""
        image = np.asarray(self._surface.convert("RGB").reduce(SUPERSAMPLING))
        label = np.asarray(self._surface.getchannel("A"))[::SUPERSAMPLING, ::SUPERSAMPLING]
        return image, np.ascontiguousarray(label), self._shadow
