"""The two looks of the same world: colors of materials, weather and sky."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import numpy as np
from PIL import Image

from mixseg.scenes.dice import Dice
from mixseg.scenes.world import Camera, Color, Point

_Hsv = tuple[int, int, int, int, int, int]
"""Ranges of hue (hundredths of a turn, may pass 100), saturation and value (percent)."""

# No class can be told by its color alone.
# fmt: off
_CAMERA_COLORS: Final[dict[str, list[_Hsv]]] = {
    "asphalt": [(55, 72, 0, 14, 20, 62), (3, 12, 2, 16, 25, 60), (0, 100, 0, 5, 45, 68)],
    "paving": [(4, 13, 2, 25, 35, 80), (55, 70, 0, 10, 30, 72), (0, 5, 15, 40, 35, 65)],
    "plaster": [
        (5, 15, 5, 45, 45, 95), (0, 6, 25, 60, 30, 70),
        (25, 50, 5, 30, 40, 80), (52, 68, 4, 40, 35, 85),
    ],
    "roof": [(0, 6, 30, 65, 30, 65), (55, 70, 2, 20, 20, 50), (5, 10, 20, 40, 20, 45)],
    "masonry": [(0, 6, 20, 55, 30, 65), (7, 14, 8, 35, 40, 80), (0, 100, 0, 8, 25, 75)],
    "metal": [
        (0, 100, 0, 8, 25, 75), (30, 42, 20, 60, 15, 45), (5, 10, 30, 55, 25, 55),
        (55, 68, 10, 40, 20, 60), (0, 100, 0, 4, 75, 95),
    ],
    "leaves": [(20, 36, 30, 75, 22, 60), (20, 42, 15, 50, 15, 40), (8, 17, 40, 85, 35, 75)],
    "bark": [(3, 12, 10, 45, 15, 45)],
    "grass": [(18, 33, 25, 70, 30, 62), (10, 17, 20, 60, 40, 72), (5, 10, 20, 50, 30, 55)],
    "paint": [
        (0, 100, 0, 6, 70, 97), (0, 100, 0, 10, 10, 30), (0, 100, 0, 8, 40, 65),
        (56, 68, 30, 85, 25, 70), (97, 103, 50, 90, 35, 75), (5, 48, 20, 80, 25, 75),
    ],
    "cloth": [
        (0, 100, 0, 15, 8, 35), (0, 100, 10, 85, 20, 85),
        (55, 68, 20, 70, 15, 55), (0, 100, 0, 12, 50, 92),
    ],
    # The town's own liveries. Cars come in the same colors and more, so a color is a hint only.
    "bus": [(11, 15, 60, 90, 60, 95)],
    "tram": [(97, 102, 60, 90, 40, 75)],
    "band": [(8, 16, 0, 12, 75, 95)],
    "truck": [(56, 66, 55, 90, 30, 70), (30, 42, 50, 80, 25, 55)],
    "cargo": [(0, 100, 0, 6, 70, 95), (56, 66, 30, 60, 35, 70)],
    "motorcycle": [(30, 40, 60, 90, 30, 60), (0, 100, 0, 10, 10, 25)],
    # Those who ride wear what is seen from afar.
    "vest": [(14, 20, 70, 95, 80, 100), (4, 8, 75, 95, 85, 100)],
    "skin": [(3, 8, 25, 60, 30, 92)],
    "glass": [(52, 66, 5, 40, 12, 75), (8, 14, 10, 50, 20, 90)],
}
# fmt: on

_RENDER_COLORS: Final[dict[str, list[_Hsv]]] = _CAMERA_COLORS | {
    "asphalt": [(58, 70, 2, 16, 18, 42)],
    "paving": [(5, 13, 5, 30, 50, 85), (0, 100, 0, 8, 25, 75)],
    "leaves": [(24, 38, 50, 85, 25, 70)],
    "grass": [(20, 33, 50, 80, 40, 75)],
    # Another town.
    "bus": [(55, 63, 50, 90, 50, 90)],
    "tram": [(28, 38, 50, 80, 40, 70)],
    "glass": [(52, 62, 30, 70, 30, 85)],
}

Look = Literal["render", "camera"]
"""``"render"`` is a game's picture, ``"camera"`` a photograph."""

LOOK_CODES: Final[Mapping[Look, int]] = {"render": 1, "camera": 2}
"""What a look adds to the seed, so that the looks never show the same scene."""


class Style(NamedTuple):
    """How one scene looks."""

    look: Look  # which of the two looks
    sun: Point  # unit vector towards the sun
    ambient: float  # brightness of surfaces in shade, relative to sunlit ones
    shadow: float  # strength of shadows on the ground (0 to 1)
    haze: Color  # color of far things, which is that of the sky at the horizon
    zenith: Color  # color of the sky at the upper edge
    clouds: float  # share of cloud in the sky (0 to 1)
    visibility: float  # depth in meters at which 63 % of a color has faded

    def color(self, material: str, dice: Dice) -> Color:
        """A color that the material may have in this look, RGB 0 to 255."""
        table = _CAMERA_COLORS if self.look == "camera" else _RENDER_COLORS
        h0, h1, s0, s1, v0, v1 = (value / 100 for value in dice.pick(table[material]))
        saturation, value = dice.uniform(s0, s1), dice.uniform(v0, v1)
        if self.look == "render":
            saturation = min(1.0, 1.25 * saturation)
        r, g, b = colorsys.hsv_to_rgb(dice.uniform(h0, h1) % 1.0, saturation, value)
        return (255 * r, 255 * g, 255 * b)


def draw_style(look: Look, dice: Dice) -> Style:
    """Draw the weather of a scene."""
    side = dice.sign()
    if look == "render":
        horizon = (175 + dice.uniform(-10, 25), 212.0, 240.0)
        skies: tuple[Color, ...] = ((50, 120, 225), (80, 160, 240), (95, 130, 220), (240, 150, 90))
        return Style(
            look,
            sun=(0.75 * side, 0.55, -0.37),
            ambient=dice.uniform(0.5, 0.62),
            shadow=0.62,
            haze=horizon,
            zenith=dice.pick(skies),
            clouds=dice.uniform(0.0, 0.5),
            visibility=dice.uniform(400, 900),
        )
    overcast = dice.chance(0.45)
    gray = dice.uniform(150, 240)
    if overcast:
        haze: Color = (gray, gray + dice.uniform(-4, 4), gray + dice.uniform(-8, 12))
        top = gray * dice.uniform(0.75, 1.05)
        zenith = (top, top, top + dice.uniform(-6, 14))
    else:
        warm = dice.uniform(-10, 45)
        haze = (185 + warm, 198 + 0.4 * warm, 222 - warm)
        zenith = (dice.uniform(60, 150), dice.uniform(110, 180), dice.uniform(170, 235))
    rise = dice.uniform(0.35, 0.8)
    flat = (1 - rise * rise) ** 0.5
    front = dice.uniform(-0.8, 0.8)
    return Style(
        look,
        sun=(side * flat * (1 - front * front) ** 0.5, rise, -flat * front),
        ambient=dice.uniform(0.72, 0.92) if overcast else dice.uniform(0.42, 0.65),
        shadow=dice.uniform(0.15, 0.4) if overcast else dice.uniform(0.4, 0.75),
        haze=haze,
        zenith=zenith,
        clouds=dice.uniform(0.4, 1.0) if overcast else dice.uniform(0.0, 0.6),
        visibility=dice.uniform(70, 500),
    )


def paint_sky(camera: Camera, style: Style, dice: Dice) -> Image.Image:
    """The backdrop in canvas size, RGB: a gradient down to the horizon, with clouds."""
    shape = (64, 96)
    depth = np.linspace(0.0, camera.height / max(camera.horizon, 1.0), shape[0])[:, None, None]
    fade = np.clip(depth, 0.0, 1.0) ** 1.3
    sky = (1 - fade) * np.array(style.zenith) + fade * np.array(style.haze)
    cloud = dice.noise(shape, 9, 5)
    cloud += 0.5 * dice.noise(shape, 20, 12)
    cover = cloud - 1.1 * (1 - 2 * style.clouds)
    # Drawn clouds have an edge; real ones fade out.
    sharpness = 6.0 if style.look == "render" else 0.9
    cover = np.clip(cover * sharpness, 0.0, 1.0)[:, :, None] * (1 - 0.6 * fade)
    white = 250.0 if style.look == "render" else dice.uniform(0.85, 1.12) * np.array(style.haze)
    small = np.clip(sky + cover * (white - sky), 0, 255).astype(np.uint8)
    return Image.fromarray(small).resize((camera.width, camera.height), Image.Resampling.BICUBIC)
