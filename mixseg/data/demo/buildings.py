"""Buildings: boxes with facades in perspective, windows, doors, shops and roofs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from mixseg.data.demo import labels as ids
from mixseg.data.demo.canvas import Canvas, Colour, tint
from mixseg.data.demo.dice import Dice

_SMALLEST_WINDOW = 3.0
"""Canvas pixels; narrower windows are left out."""


@final
@dataclass(frozen=True)
class Facade:
    """How the walls of one building look.

    Attributes:
        wall: Colour of the sunlit wall.
        trim: Colour of frames, cornices and doors.
        glass: Colour of the window panes.
        roof: Colour of the roof.
        storey: Height of a storey in metres.
        bay: Distance from window to window in metres.
        opening: Share of a bay and a storey that its window takes, in each direction.
        shop: Whether the ground floor is a shop front.
        pitched: Whether the roof is pitched.
        awning: Colour of the shop's awning.
    """

    wall: Colour
    trim: Colour
    glass: Colour
    roof: Colour
    storey: float
    bay: float
    opening: tuple[float, float]
    shop: bool
    pitched: bool
    awning: Colour


def draw_building(
    canvas: Canvas,
    x: float,
    depth: float,
    near: float,
    far: float,
    height: float,
    facade: Facade,
    dice: Dice,
) -> None:
    """A building along the street: the end that faces the camera, the street front, the roof.

    Args:
        canvas: Surface to draw on.
        x: Where its street front stands, in metres; the sign tells the side of the street.
        depth: How far it reaches away from the street, in metres.
        near: Depth of its near end in metres.
        far: Depth of its far end in metres.
        height: Height of its walls in metres.
        facade: Colours and measures.
        dice: Randomness.
    """
    back = x + math.copysign(depth, x)
    if facade.pitched:
        _pitched_roof(canvas, x, back, near, far, height, facade)
    _front(canvas, (back, near), (x, near), height, facade, dice, street=False)
    _front(canvas, (x, near), (x, far), height, facade, dice, street=True)


def draw_closing_building(
    canvas: Canvas, left: float, right: float, z: float, height: float, facade: Facade, dice: Dice
) -> None:
    """A building at the end of the street that faces the camera."""
    if facade.pitched:
        colour = tint(facade.roof, canvas.light((0.0, 0.7, -0.7)))
        ridge, inset = height + 0.3 * height, 0.12 * (right - left)
        canvas.polygon(
            [
                (left, height, z),
                (left + inset, ridge, z + 4),
                (right - inset, ridge, z + 4),
                (right, height, z),
            ],
            colour,
            ids.BUILDING,
        )
    _front(canvas, (left, z), (right, z), height, facade, dice, street=True)


def _pitched_roof(
    canvas: Canvas, x: float, back: float, near: float, far: float, height: float, facade: Facade
) -> None:
    """The slope towards the street and the gable that carries it."""
    middle, ridge = 0.5 * (x + back), height + 0.35 * abs(back - x)
    eave = x - math.copysign(0.4, x)
    gable = tint(facade.wall, canvas.light((0.0, 0.0, -1.0)))
    slope = tint(facade.roof, canvas.light((-math.copysign(0.7, x), 0.7, 0.0)))
    canvas.polygon(
        [(x, height, near), (middle, ridge, near), (back, height, near)], gable, ids.BUILDING
    )
    canvas.polygon(
        [
            (eave, height - 0.2, near - 0.3),
            (middle, ridge, near - 0.3),
            (middle, ridge, far),
            (eave, height - 0.2, far),
        ],
        slope,
        ids.BUILDING,
    )


def _front(
    canvas: Canvas,
    start: tuple[float, float],
    end: tuple[float, float],
    height: float,
    facade: Facade,
    dice: Dice,
    *,
    street: bool,
) -> None:
    """One wall from ``start`` to ``end`` (x, z) on the ground, with its windows."""
    camera = canvas.camera
    (x0, z0), (x1, z1) = start, end
    length = math.hypot(x1 - x0, z1 - z0)
    normal = (0.0, 0.0, -1.0) if z0 == z1 else (-math.copysign(1.0, x0), 0.0, 0.0)
    light = canvas.light(normal)
    wall, trim, glass = (tint(c, light) for c in (facade.wall, facade.trim, facade.glass))

    def stripe(
        a: float, b: float, low: float, high: float, colour: Colour, tilt: float = 0.0
    ) -> None:
        """Fills a part of the wall; a and b run from 0 at start to 1 at end."""
        za, zb = z0 + (z1 - z0) * a, z0 + (z1 - z0) * b
        xa, xb = x0 + (x1 - x0) * a, x0 + (x1 - x0) * b
        out_x, out_z = tilt * normal[0], tilt * normal[2]
        canvas.fill(
            (
                camera.project(xa + out_x, low, za + out_z),
                camera.project(xa, high, za),
                camera.project(xb, high, zb),
                camera.project(xb + out_x, low, zb + out_z),
            ),
            colour,
            ids.BUILDING,
            za,
        )

    stripe(0.0, 1.0, 0.0, height, wall)
    bays = max(1, int(length / facade.bay))
    storeys = max(1, int(height / facade.storey))
    stripe(0.0, 1.0, height - 0.3, height, trim)
    first = 0
    if facade.shop and street:
        first = 1
        stripe(0.0, 1.0, 0.0, facade.storey, tint(wall, 0.7))
        stripe(0.0, 1.0, facade.storey - 0.7, facade.storey - 0.1, tint(facade.awning, light))
    half_window = 0.5 * facade.opening[0] / bays
    for bay in range(bays):
        middle = (bay + 0.5) / bays
        a, b = middle - half_window, middle + half_window
        column0 = camera.project(x0 + (x1 - x0) * a, 0.0, z0 + (z1 - z0) * a)[0]
        column1 = camera.project(x0 + (x1 - x0) * b, 0.0, z0 + (z1 - z0) * b)[0]
        off_canvas = max(column0, column1) < 0 or min(column0, column1) > camera.width
        if off_canvas or abs(column1 - column0) < _SMALLEST_WINDOW:
            continue
        wide = abs(column1 - column0) > 4 * _SMALLEST_WINDOW
        if first:
            stripe(a - 0.2 / bays, b + 0.2 / bays, 0.5, facade.storey - 0.8, glass)
            if dice.chance(0.4):
                stripe(
                    a - 0.2 / bays,
                    b + 0.2 / bays,
                    facade.storey - 1.2,
                    facade.storey - 0.5,
                    tint(facade.awning, light),
                    0.9,
                )
        elif street and bay == bays // 2:
            stripe(a, b, 0.0, 2.2, tint(facade.awning, 0.6 * light))
        for storey in range(first, storeys):
            if storey == 0 and street and bay == bays // 2:
                continue
            low = (storey + 0.5 - 0.5 * facade.opening[1]) * facade.storey
            high = low + facade.opening[1] * facade.storey
            if high > height - 0.3:
                break
            if wide:
                rim = 0.12 / bays
                stripe(a - rim, b + rim, low - 0.12, high + 0.12, trim)
            stripe(a, b, low, high, tint(glass, dice.uniform(0.6, 1.35)))
            if wide and dice.chance(0.5):
                stripe(middle - 0.04 / bays, middle + 0.04 / bays, low, high, trim)
