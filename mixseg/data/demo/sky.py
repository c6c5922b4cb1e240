"""The sky: a gradient and clouds."""

from __future__ import annotations

import numpy as np
from PIL import Image

from mixseg.data.demo.dice import Dice
from mixseg.data.demo.geometry import Camera
from mixseg.data.demo.looks import Style
from mixseg.data.demo.noise import smooth_noise


def paint_sky(camera: Camera, style: Style, dice: Dice) -> Image.Image:
    """The backdrop in canvas size, RGB: a gradient down to the horizon, with clouds."""
    rows, columns = 64, 96
    depth = np.linspace(0.0, camera.height / max(camera.horizon, 1.0), rows)[:, None, None]
    fade = np.clip(depth, 0.0, 1.0) ** 1.3
    sky = (1 - fade) * np.array(style.zenith) + fade * np.array(style.haze)
    cloud = smooth_noise(dice.generator, (rows, columns), (9, 5))
    cloud += 0.5 * smooth_noise(dice.generator, (rows, columns), (20, 12))
    cover = cloud - 1.1 * (1 - 2 * style.clouds)
    # Drawn clouds have an edge; real ones fade out.
    sharpness = 6.0 if style.look == "render" else 0.9
    cover = np.clip(cover * sharpness, 0.0, 1.0)[:, :, None] * (1 - 0.6 * fade)
    white = 250.0 if style.look == "render" else dice.uniform(0.85, 1.12) * np.array(style.haze)
    small = np.clip(sky + cover * (white - sky), 0, 255).astype(np.uint8)
    return Image.fromarray(small).resize((camera.width, camera.height), Image.Resampling.BICUBIC)
