"""The two looks of the same world: colors of materials, weather and sky."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
from PIL import Image

from mixseg.scenes.dice import Dice
from mixseg.scenes.world import Camera, Color, Point

_Range = tuple[float, float]
_Hsv = tuple[_Range, _Range, _Range]
"""Ranges of hue (turns, may pass 1), saturation and value (0 to 1)."""

_GRAYS: Final[_Hsv] = ((0.0, 1.0), (0.0, 0.08), (0.25, 0.75))

# No class can be told by its color alone.
_CAMERA_COLORS: Final[Mapping[str, tuple[_Hsv, ...]]] = {
    "asphalt": (
        ((0.55, 0.72), (0.0, 0.14), (0.2, 0.62)),
        ((0.03, 0.12), (0.02, 0.16), (0.25, 0.6)),
        ((0.0, 1.0), (0.0, 0.05), (0.45, 0.68)),
    ),
    "paving": (
        ((0.04, 0.13), (0.02, 0.25), (0.35, 0.8)),
        ((0.55, 0.7), (0.0, 0.1), (0.3, 0.72)),
        ((0.0, 0.05), (0.15, 0.4), (0.35, 0.65)),
    ),
    "plaster": (
        ((0.05, 0.15), (0.05, 0.45), (0.45, 0.95)),
        ((0.0, 0.06), (0.25, 0.6), (0.3, 0.7)),
        ((0.25, 0.5), (0.05, 0.3), (0.4, 0.8)),
        ((0.52, 0.68), (0.04, 0.4), (0.35, 0.85)),
    ),
    "roof": (
        ((0.0, 0.06), (0.3, 0.65), (0.3, 0.65)),
        ((0.55, 0.7), (0.02, 0.2), (0.2, 0.5)),
        ((0.05, 0.1), (0.2, 0.4), (0.2, 0.45)),
    ),
    "masonry": (
        ((0.0, 0.06), (0.2, 0.55), (0.3, 0.65)),
        ((0.07, 0.14), (0.08, 0.35), (0.4, 0.8)),
        _GRAYS,
    ),
    "metal": (
        _GRAYS,
        ((0.3, 0.42), (0.2, 0.6), (0.15, 0.45)),
        ((0.05, 0.1), (0.3, 0.55), (0.25, 0.55)),
        ((0.55, 0.68), (0.1, 0.4), (0.2, 0.6)),
        ((0.0, 1.0), (0.0, 0.04), (0.75, 0.95)),
    ),
    "leaves": (
        ((0.2, 0.36), (0.3, 0.75), (0.22, 0.6)),
        ((0.2, 0.42), (0.15, 0.5), (0.15, 0.4)),
        ((0.08, 0.17), (0.4, 0.85), (0.35, 0.75)),
    ),
    "bark": (((0.03, 0.12), (0.1, 0.45), (0.15, 0.45)),),
    "grass": (
        ((0.18, 0.33), (0.25, 0.7), (0.3, 0.62)),
        ((0.1, 0.17), (0.2, 0.6), (0.4, 0.72)),
        ((0.05, 0.1), (0.2, 0.5), (0.3, 0.55)),
    ),
    "paint": (
        ((0.0, 1.0), (0.0, 0.06), (0.7, 0.97)),
        ((0.0, 1.0), (0.0, 0.1), (0.1, 0.3)),
        ((0.0, 1.0), (0.0, 0.08), (0.4, 0.65)),
        ((0.56, 0.68), (0.3, 0.85), (0.25, 0.7)),
        ((0.97, 1.03), (0.5, 0.9), (0.35, 0.75)),
        ((0.05, 0.48), (0.2, 0.8), (0.25, 0.75)),
    ),
    "cloth": (
        ((0.0, 1.0), (0.0, 0.15), (0.08, 0.35)),
        ((0.0, 1.0), (0.1, 0.85), (0.2, 0.85)),
        ((0.55, 0.68), (0.2, 0.7), (0.15, 0.55)),
        ((0.0, 1.0), (0.0, 0.12), (0.5, 0.92)),
    ),
    # The town's own liveries. Cars come in the same colors and more, so a color is a hint only.
    "bus": (((0.11, 0.15), (0.6, 0.9), (0.6, 0.95)),),
    "tram": (((0.97, 1.02), (0.6, 0.9), (0.4, 0.75)),),
    "band": (((0.08, 0.16), (0.0, 0.12), (0.75, 0.95)),),
    "truck": (((0.56, 0.66), (0.55, 0.9), (0.3, 0.7)), ((0.3, 0.42), (0.5, 0.8), (0.25, 0.55))),
    "cargo": (((0.0, 1.0), (0.0, 0.06), (0.7, 0.95)), ((0.56, 0.66), (0.3, 0.6), (0.35, 0.7))),
    "motorcycle": (((0.3, 0.4), (0.6, 0.9), (0.3, 0.6)), ((0.0, 1.0), (0.0, 0.1), (0.1, 0.25))),
    # Those who ride wear what is seen from afar.
    "vest": (((0.14, 0.2), (0.7, 0.95), (0.8, 1.0)), ((0.04, 0.08), (0.75, 0.95), (0.85, 1.0))),
    "skin": (((0.03, 0.08), (0.25, 0.6), (0.3, 0.92)),),
    "glass": (((0.52, 0.66), (0.05, 0.4), (0.12, 0.75)), ((0.08, 0.14), (0.1, 0.5), (0.2, 0.9))),
}

_RENDER_COLORS: Final[Mapping[str, tuple[_Hsv, ...]]] = {
    **_CAMERA_COLORS,
    "asphalt": (((0.58, 0.7), (0.02, 0.16), (0.18, 0.42)),),
    "paving": (((0.05, 0.13), (0.05, 0.3), (0.5, 0.85)), _GRAYS),
    "leaves": (((0.24, 0.38), (0.5, 0.85), (0.25, 0.7)),),
    "grass": (((0.2, 0.33), (0.5, 0.8), (0.4, 0.75)),),
    "glass": (((0.52, 0.62), (0.3, 0.7), (0.3, 0.85)),),
    # Another town.
    "bus": (((0.55, 0.63), (0.5, 0.9), (0.5, 0.9)),),
    "tram": (((0.28, 0.38), (0.5, 0.8), (0.4, 0.7)),),
}

Look = Literal["render", "camera"]
"""``"render"`` is a game's picture, ``"camera"`` a photograph."""

LOOK_CODES: Final[Mapping[Look, int]] = {"render": 1, "camera": 2}
"""What a look adds to the seed, so that the looks never show the same scene."""


@final
@dataclass(frozen=True)
class Style:
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
        (h0, h1), (s0, s1), (v0, v1) = dice.pick(table[material])
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
