"""Composes a scene: draws camera, weather and street, and paints what stands there."""

from __future__ import annotations

import numpy as np

from mixseg.data.arrays import ImageArray, LabelArray
from mixseg.errors import DataError
from mixseg.scenes import labels as ids
from mixseg.scenes.canvas import SUPERSAMPLING, Canvas
from mixseg.scenes.dice import Dice
from mixseg.scenes.exposure import finish
from mixseg.scenes.ground import paint_backdrop, paint_ground
from mixseg.scenes.looks import LOOK_CODES, Look, draw_style
from mixseg.scenes.roadside import place_roadside
from mixseg.scenes.stage import Stage
from mixseg.scenes.street import draw_street
from mixseg.scenes.traffic import place_people, place_traffic
from mixseg.scenes.world import Camera, tint

SMALLEST = (32, 64)
"""Least height and width in pixels for which the classes can still be told apart."""

LARGEST = 4096
"""Most pixels of a side; a scene is drawn in memory."""


def render_scene(
    seed: int, index: int, size: tuple[int, int] = (128, 256), look: Look = "camera"
) -> tuple[ImageArray, LabelArray]:
    """Draw a street scene; the same arguments always give the same scene.

    Args:
        seed: Seed of the whole set, not negative.
        index: Number of the scene in the set, not negative.
        size: Height and width in pixels, from 32 x 64 to 4096 x 4096.
        look: ``"camera"`` for photograph-like scenes, ``"render"`` for game-like ones.

    Returns:
        The RGB image, uint8, shape (height, width, 3), and the raw Cityscapes label ids, uint8,
        shape (height, width).

    Raises:
        DataError: The size is too small or too large, or the look is unknown.
    """
    height, width = size
    if height < SMALLEST[0] or width < SMALLEST[1]:
        raise DataError(f"a scene needs at least {SMALLEST[0]}x{SMALLEST[1]} pixels, got {size}")
    if max(size) > LARGEST:
        raise DataError(f"a side of a scene has at most {LARGEST} pixels, got {size}")
    if look not in LOOK_CODES:
        raise DataError(f"look must be one of {sorted(LOOK_CODES)}, got {look!r}")
    entropy = np.random.SeedSequence([seed, index, LOOK_CODES[look]])
    dice = Dice(np.random.default_rng(entropy))
    style = draw_style(look, dice)
    canvas = Canvas(_draw_camera(size, look, dice), style, dice)
    stage = Stage(canvas, draw_street(look, dice))
    paint_backdrop(stage)
    paint_ground(stage)
    place_roadside(stage)
    place_people(stage)
    place_traffic(stage)
    stage.paint()
    _paint_hood(stage)
    return finish(canvas)


def _draw_camera(size: tuple[int, int], look: Look, dice: Dice) -> Camera:
    """Draw where the camera hangs and how it points."""
    height, width = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
    zoom = dice.uniform(0.95, 1.35) if look == "camera" else dice.uniform(0.65, 0.9)
    eye = dice.uniform(1.15, 1.8) if look == "camera" else dice.uniform(1.5, 2.5)
    return Camera(
        width,
        height,
        focal=zoom * width,
        center=width * dice.uniform(0.4, 0.6),
        horizon=height * dice.uniform(0.36, 0.5),
        eye=eye,
        curve=dice.uniform(-0.0035, 0.0035) if dice.chance(0.6) else 0.0,
    )


def _paint_hood(stage: Stage) -> None:
    """In some scenes the camera's own car is in the picture."""
    if not stage.dice.chance(0.35 if stage.style.look == "camera" else 0.1):
        return
    camera = stage.camera
    rise, middle = camera.height * stage.dice.uniform(0.05, 0.09), 0.5 * camera.width
    outline = [(0.0, camera.height + 1.0)]
    for i in range(13):
        t = i / 6 - 1
        outline.append((middle + t * middle * 1.02, camera.height - rise * (1 - t**4)))
    outline.append((camera.width + 1.0, camera.height + 1.0))
    stage.canvas.fill(outline, tint(stage.color("paint"), 0.7), ids.EGO_VEHICLE, 0.0)
