"""A scene: camera, weather and street are drawn, painted, and brought into a picture."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mixseg.data.images import ImageArray, LabelArray
from mixseg.errors import DataError
from mixseg.scenes import labels as ids
from mixseg.scenes.canvas import SUPERSAMPLING, Canvas
from mixseg.scenes.dice import Dice
from mixseg.scenes.ground import paint_backdrop, paint_ground
from mixseg.scenes.looks import LOOK_CODES, Look, draw_style
from mixseg.scenes.roadside import place_roadside
from mixseg.scenes.street import Stage, draw_street
from mixseg.scenes.traffic import place_people, place_traffic
from mixseg.scenes.world import Camera, tint

SMALLEST = (32, 64)
"""Least height and width in pixels for which the classes can still be told apart."""

LARGEST = 4096
"""Most pixels of a side; a scene is drawn in memory."""

_GROUND: Final = np.isin(np.arange(256), (ids.ROAD, ids.SIDEWALK, ids.TERRAIN))

_ROUGHNESS: Final = {
    ids.SKY: (0.0, 0.0),
    ids.VEGETATION: (0.17, 0.1),
    ids.TERRAIN: (0.14, 0.14),
    ids.WALL: (0.09, 0.12),
    ids.ROAD: (0.05, 0.07),
    ids.SIDEWALK: (0.06, 0.08),
    ids.BUILDING: (0.06, 0.06),
    ids.FENCE: (0.06, 0.05),
}
"""Label -> how strong its grain and its patches are."""

_GRAIN, _PATCHES = np.array(
    [_ROUGHNESS.get(label, (0.02, 0.05)) for label in range(256)], dtype=np.float32
).T


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
    return _finish(canvas)


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


def _finish(canvas: Canvas) -> tuple[ImageArray, LabelArray]:
    """Turn the painted canvas into the final image and its label, (height, width)."""
    dice, style = canvas.dice, canvas.style
    drawn, label, shadow_map = canvas.arrays()
    image = drawn.astype(np.float32)
    height = len(image)
    distance = _ground_distance(canvas.camera, height)
    ground = _GROUND[label]
    image *= _texture(canvas, label, distance)[:, :, None]
    if style.look == "camera":
        softness = height / 128 * dice.uniform(0.4, 1.2)
        shadow_map = shadow_map.filter(ImageFilter.GaussianBlur(softness))
    shadow = np.asarray(shadow_map, dtype=np.float32) * (style.shadow / 255)
    image *= np.where(ground, 1.0 - shadow, 1.0)[:, :, None]
    clear = np.where(ground, np.exp(-distance / style.visibility)[:, None], 1.0)[:, :, None]
    image += (1.0 - clear.astype(np.float32)) * (np.array(style.haze, dtype=np.float32) - image)
    is_photograph = style.look == "camera"
    image = _photograph(image, dice) if is_photograph else (image - 128.0) * 1.08 + 130.0
    return np.clip(image, 0, 255).astype(np.uint8), label


def _texture(
    canvas: Canvas, label: LabelArray, distance: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Brightness factors, shape (height, width): grain, stains, and the joints of the paving."""
    height, width = label.shape
    camera, dice = canvas.camera, canvas.dice
    strength = dice.uniform(0.6, 1.5) if canvas.style.look == "camera" else 0.35
    grain = dice.generator.standard_normal((height, width), dtype=np.float32)
    patches = dice.noise((height, width), width // 9 + 2, height // 9 + 2)
    factor = 1.0 + strength * (_GRAIN[label] * grain + _PATCHES[label] * patches)
    # On the ground the coarse pattern lies in perspective; below is its position in meters.
    first = min(height, max(0, int(camera.horizon / SUPERSAMPLING) + 1))
    z = distance[first:, None]
    columns = (np.arange(width, dtype=np.float32) + 0.5) * SUPERSAMPLING - camera.center
    x = columns[None, :] * z / camera.focal - camera.curve * z * z
    tile = dice.noise((64, 64), 22, 22)
    rows, cols = (z * 4).astype(np.int32) & 63, (x * 5).astype(np.int32) & 63
    near = np.clip(14.0 / z, 0.0, 1.0)
    below = label[first:]
    stains = tile[rows, cols] * near * (1.3 * strength * _PATCHES[below]) * _GROUND[below]
    slab = dice.uniform(0.5, 1.6)
    joints = ((x / slab) % 1.0 < 0.09) | ((z / slab) % 1.0 < 0.12)
    paved = (below == ids.SIDEWALK) & joints
    factor[first:] += stains - 0.22 * near * paved
    return np.asarray(factor, dtype=np.float32)


def _photograph(image: NDArray[np.float32], dice: Dice) -> NDArray[np.float32]:
    """Uneven light, exposure, white balance, tone curve, lens blur, vignette and sensor noise."""
    height, width, _ = image.shape
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    lean, fall = dice.uniform(-0.14, 0.14), dice.uniform(0.0, 0.25)
    light = (1.0 + lean * across) * (1.0 - fall * (0.6 * across**2 + 0.4 * down**2))
    exposure = dice.uniform(0.8, 1.4)
    warmth, green = dice.uniform(-0.1, 0.1), dice.uniform(-0.03, 0.03)
    balance = np.array([1 + warmth, 1 + green, 1 - warmth], dtype=np.float32)
    saturation = dice.uniform(0.7, 1.1)
    gray = (image[:, :, :1] + image[:, :, 1:2] + image[:, :, 2:]) / 3.0
    image -= gray
    image *= saturation
    image += gray
    image *= light[:, :, None] * (exposure * balance)
    gamma = dice.uniform(0.7, 1.15)
    # The tone curve as a table: a power of every pixel would cost more than the whole drawing.
    curve = (255.0 * np.linspace(0.0, 1.0, 256) ** gamma).astype(np.uint8)
    toned = curve[np.clip(image, 0, 255).astype(np.uint8)]
    blur = height / 128 * dice.uniform(0.1, 0.5)
    soft = Image.fromarray(toned).filter(ImageFilter.GaussianBlur(blur))
    noise = dice.generator.standard_normal((height, width, 3), dtype=np.float32)
    return np.asarray(soft, dtype=np.float32) + dice.uniform(1.0, 4.0) * noise


def _ground_distance(camera: Camera, height: int) -> NDArray[np.float32]:
    """Depth in meters of the ground in every image row; a large number above the horizon."""
    rows = (np.arange(height, dtype=np.float32) + 0.5) * SUPERSAMPLING - camera.horizon
    below = camera.focal * camera.eye / np.maximum(rows, 0.5)
    return np.asarray(np.where(rows > 0, below, 1e4), dtype=np.float32)
