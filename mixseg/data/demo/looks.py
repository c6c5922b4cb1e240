"""The two looks of the same world, and the weather that a scene is drawn in."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, final

from mixseg.data.demo.canvas import Colour
from mixseg.data.demo.dice import Dice
from mixseg.data.demo.geometry import Point
from mixseg.data.demo.materials import CAMERA_COLOURS, RENDER_COLOURS

Look = Literal["render", "camera"]
"""``"render"`` is a game's picture, ``"camera"`` a photograph."""

LOOK_CODES: Final[Mapping[Look, int]] = {"render": 1, "camera": 2}
"""What a look adds to the seed, so that the looks never show the same scene."""


@final
@dataclass(frozen=True)
class Style:
    """How one scene looks.

    Attributes:
        look: Which of the two looks.
        sun: Unit vector towards the sun.
        ambient: Brightness of surfaces in shade, relative to sunlit ones.
        shadow: Strength of shadows on the ground (0 to 1).
        haze: Colour of far things, which is that of the sky at the horizon.
        zenith: Colour of the sky at the upper edge.
        clouds: Share of cloud in the sky (0 to 1).
        visibility: Depth in metres at which 63 % of a colour has faded.
    """

    look: Look
    sun: Point
    ambient: float
    shadow: float
    haze: Colour
    zenith: Colour
    clouds: float
    visibility: float

    def colour(self, material: str, dice: Dice) -> Colour:
        """A colour that the material may have in this look, RGB 0 to 255."""
        table = CAMERA_COLOURS if self.look == "camera" else RENDER_COLOURS
        (h0, h1), (s0, s1), (v0, v1) = dice.pick(table[material])
        saturation, value = dice.uniform(s0, s1), dice.uniform(v0, v1)
        if self.look == "render":
            saturation = min(1.0, 1.25 * saturation)
        r, g, b = colorsys.hsv_to_rgb(dice.uniform(h0, h1) % 1.0, saturation, value)
        return (255 * r, 255 * g, 255 * b)


def draw_style(look: Look, dice: Dice) -> Style:
    """Draws the weather of a scene."""
    side = dice.sign()
    if look == "render":
        horizon = (175 + dice.uniform(-10, 25), 212.0, 240.0)
        skies: tuple[Colour, ...] = ((50, 120, 225), (80, 160, 240), (95, 130, 220), (240, 150, 90))
        return Style(
            look,
            (0.75 * side, 0.55, -0.37),
            dice.uniform(0.5, 0.62),
            0.62,
            horizon,
            dice.pick(skies),
            dice.uniform(0.0, 0.5),
            dice.uniform(400, 900),
        )
    overcast = dice.chance(0.45)
    grey = dice.uniform(150, 240)
    if overcast:
        haze: Colour = (grey, grey + dice.uniform(-4, 4), grey + dice.uniform(-8, 12))
        top = grey * dice.uniform(0.75, 1.05)
        zenith = (top, top, top + dice.uniform(-6, 14))
    else:
        warm = dice.uniform(-10, 45)
        haze = (185 + warm, 198 + 0.4 * warm, 222 - warm)
        zenith = (dice.uniform(60, 150), dice.uniform(110, 180), dice.uniform(170, 235))
    rise = dice.uniform(0.35, 0.8)
    flat = (1 - rise * rise) ** 0.5
    front = dice.uniform(-0.8, 0.8)
    sun = (side * flat * (1 - front * front) ** 0.5, rise, -flat * front)
    return Style(
        look,
        sun,
        ambient=dice.uniform(0.72, 0.92) if overcast else dice.uniform(0.42, 0.65),
        shadow=dice.uniform(0.15, 0.4) if overcast else dice.uniform(0.4, 0.75),
        haze=haze,
        zenith=zenith,
        clouds=dice.uniform(0.4, 1.0) if overcast else dice.uniform(0.0, 0.6),
        visibility=dice.uniform(70, 500),
    )
