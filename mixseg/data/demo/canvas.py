"""The drawing surface: colour and label are painted together by one polygon fill.

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

from mixseg.data.arrays import ImageArray, LabelArray
from mixseg.data.demo.dice import Dice
from mixseg.data.demo.geometry import Camera, Pixel, Point

Colour = tuple[float, float, float]
"""Red, green and blue, 0 to 255; may leave the range until it is painted."""

SUPERSAMPLING = 2
"""Canvas pixels per image pixel in each direction."""

_CIRCLE = [(math.cos(math.tau * i / 12), math.sin(math.tau * i / 12)) for i in range(12)]


def tint(colour: Colour, factor: float) -> Colour:
    """A lighter (factor above 1) or darker colour of the same hue."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """A mixture; ``share`` is that of the second colour."""
    r, g, b = first
    return (
        r + (second[0] - r) * share,
        g + (second[1] - g) * share,
        b + (second[2] - b) * share,
    )


@final
class Canvas:
    """Paints world polygons with light from a sun and haze that grows with depth.

    Args:
        camera: Projection from metres to canvas pixels.
        sky: RGB backdrop in the size of the canvas.
        sky_id: Label of the backdrop.
        sun: Unit vector towards the sun (x, y, z).
        ambient: Brightness of a surface that faces away from the sun; one that faces it has 1.
        haze: Colour that far things fade into.
        visibility: Depth in metres at which 63 % of a colour has faded.
    """

    def __init__(
        self,
        camera: Camera,
        sky: Image.Image,
        sky_id: int,
        *,
        sun: Point,
        ambient: float,
        haze: Colour,
        visibility: float,
    ) -> None:
        self.camera = camera
        self.sun = sun
        self.ambient = ambient
        self.haze = haze
        self.visibility = visibility
        self._surface = sky.convert("RGBA")
        self._surface.putalpha(sky_id)
        self._draw = ImageDraw.Draw(self._surface)
        # Shadows lie on the ground whatever is drawn there later, so they are kept apart.
        final_size = (camera.width // SUPERSAMPLING, camera.height // SUPERSAMPLING)
        self._shadow = Image.new("L", final_size)
        self._shadow_draw = ImageDraw.Draw(self._shadow)

    def light(self, normal: Point) -> float:
        """Brightness of a surface with the given unit normal."""
        facing = normal[0] * self.sun[0] + normal[1] * self.sun[1] + normal[2] * self.sun[2]
        return self.ambient + (1.0 - self.ambient) * max(0.0, facing)

    def ink(self, colour: Colour, label: int, depth: float = 0.0) -> tuple[int, int, int, int]:
        """The four channel values of a colour seen through the haze at a depth in metres."""
        r, g, b = blend(colour, self.haze, 1.0 - math.exp(-depth / self.visibility))
        return (
            min(255, max(0, int(r))),
            min(255, max(0, int(g))),
            min(255, max(0, int(b))),
            label,
        )

    def polygon(self, points: Sequence[Point], colour: Colour, label: int) -> None:
        """Fills a polygon given in the world."""
        project = self.camera.project
        self.fill([project(*p) for p in points], colour, label, points[0][2])

    def fill(self, outline: Sequence[Pixel], colour: Colour, label: int, depth: float) -> None:
        """Fills a polygon given on the canvas, at a depth in metres."""
        self._draw.polygon(outline, fill=self.ink(colour, label, depth))

    def ground(self, outline: Sequence[Pixel], colour: Colour, label: int) -> None:
        """Fills a polygon of the ground without haze: its depth changes from row to row."""
        self._draw.polygon(outline, fill=self.ink(colour, label))

    def limb(self, start: Point, end: Point, thickness: float, colour: Colour, label: int) -> None:
        """A bar between two world points, as thick as given in metres from every side."""
        a, b = self.camera.project(*start), self.camera.project(*end)
        width = max(1, round(thickness * self.camera.scale(start[2])))
        ink = self.ink(colour, label, start[2])
        self._draw.line((a, b), fill=ink, width=width)
        if width > 3:
            for x, y in (a, b):
                r = 0.5 * width - 0.5
                self._draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)

    def ball(self, centre: Point, radius: float, colour: Colour, label: int) -> None:
        """A disc that faces the camera, with its radius in metres."""
        x, y = self.camera.project(*centre)
        r = max(0.5, radius * self.camera.scale(centre[2]))
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=self.ink(colour, label, centre[2]))

    def blob(
        self,
        centre: Pixel,
        radii: Pixel,
        ruggedness: float,
        dice: Dice,
        colour: Colour,
        label: int,
        depth: float,
    ) -> None:
        """An ellipse with a ragged outline, given on the canvas."""
        (x, y), (rx, ry) = centre, radii
        outline = []
        for cos, sin in _CIRCLE:
            r = 1.0 - ruggedness * dice.unit()
            outline.append((x + rx * r * cos, y + ry * r * sin))
        self._draw.polygon(outline, fill=self.ink(colour, label, depth))

    def relabel(self, outlines: Sequence[Sequence[Pixel]], label: int) -> None:
        """Labels polygons (canvas) without painting them: one sees through a fence's gaps."""
        labels = self._surface.getchannel("A")
        draw = ImageDraw.Draw(labels)
        for outline in outlines:
            draw.polygon(outline, fill=label)
        self._surface.putalpha(labels)

    def shade_ground(self, points: Sequence[Point], strength: float) -> None:
        """Darkens the ground inside a world polygon by ``strength`` (0 to 1)."""
        outline = []
        for p in points:
            x, y = self.camera.project(*p)
            outline.append((x / SUPERSAMPLING, y / SUPERSAMPLING))
        self._shadow_draw.polygon(outline, fill=int(255 * strength))

    def arrays(self) -> tuple[ImageArray, LabelArray, Image.Image]:
        """The image averaged to its final size, the label, and the shadow map (mode L)."""
        image = np.asarray(self._surface.convert("RGB").reduce(SUPERSAMPLING))
        label = np.asarray(self._surface.getchannel("A"))[::SUPERSAMPLING, ::SUPERSAMPLING]
        return image, np.ascontiguousarray(label), self._shadow
