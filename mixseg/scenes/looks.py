"""The two looks of the same world, the weather that a scene is drawn in, and its sky."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
from PIL import Image

from mixseg.scenes.canvas import Camera, Color, Point
from mixseg.scenes.dice import Dice
from mixseg.scenes.materials import CAMERA_COLORS, RENDER_COLORS

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
        table = CAMERA_COLORS if self.look == "camera" else RENDER_COLORS
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
