"""Buildings: boxes with facades in perspective, windows, doors, shops and roofs."""

from __future__ import annotations

import math
from typing import NamedTuple

from mixseg.scenes import labels as ids
from mixseg.scenes.canvas import Canvas
from mixseg.scenes.world import Color, tint

Spot = tuple[float, float]
"""Point (x, z) on the ground in meters."""

_SMALLEST_WINDOW = 3.0
"""Canvas pixels; narrower windows are left out."""


class Facade(NamedTuple):
    """How the walls of one building look."""

    wall: Color  # color of the sunlit wall
    trim: Color  # color of frames, cornices and doors
    glass: Color  # color of the window panes
    roof: Color  # color of the roof
    story: float  # height of a story in meters
    bay: float  # distance from window to window in meters
    opening: tuple[float, float]  # shares of a bay and a story that a window takes
    shop: bool  # whether the ground floor is a shop front
    pitched: bool  # whether the roof is pitched
    awning: Color  # color of the shop's awning


def draw_building(
    canvas: Canvas, x: float, depth: float, near: float, far: float, height: float, facade: Facade
) -> None:
    """A building whose street front stands at x, reaching ``depth`` meters away from the street."""
    back = x + math.copysign(depth, x)
    if facade.pitched:
        middle, ridge = 0.5 * (x + back), height + 0.35 * abs(back - x)
        gable = tint(facade.wall, canvas.light((0.0, 0.0, -1.0)))
        outline = [(x, height, near), (middle, ridge, near), (back, height, near)]
        canvas.polygon(outline, gable, ids.BUILDING)
        eave, front = x - math.copysign(0.4, x), near - 0.3
        slope = tint(facade.roof, canvas.light((-math.copysign(0.7, x), 0.7, 0.0)))
        outline = [
            (eave, height - 0.2, front), (middle, ridge, front),
            (middle, ridge, far), (eave, height - 0.2, far),
        ]  # fmt: skip
        canvas.polygon(outline, slope, ids.BUILDING)
    _front(canvas, (back, near), (x, near), height, facade, street=False)
    _front(canvas, (x, near), (x, far), height, facade, street=True)


def draw_closing_building(
    canvas: Canvas, left: float, right: float, z: float, height: float, facade: Facade
) -> None:
    """A building at the end of the street that faces the camera."""
    if facade.pitched:
        ridge, inset = height + 0.3 * height, 0.12 * (right - left)
        outline = [
            (left, height, z), (left + inset, ridge, z + 4),
            (right - inset, ridge, z + 4), (right, height, z),
        ]  # fmt: skip
        canvas.polygon(outline, tint(facade.roof, canvas.light((0.0, 0.7, -0.7))), ids.BUILDING)
    _front(canvas, (left, z), (right, z), height, facade, street=True)


def _front(
    canvas: Canvas, start: Spot, end: Spot, height: float, facade: Facade, *, street: bool
) -> None:
    """One wall from ``start`` to ``end`` (x, z) on the ground, with its windows."""
    dice = canvas.dice
    project = canvas.camera.project
    (x0, z0), (x1, z1) = start, end
    length = math.hypot(x1 - x0, z1 - z0)
    normal = (0.0, 0.0, -1.0) if z0 == z1 else (-math.copysign(1.0, x0), 0.0, 0.0)
    light = canvas.light(normal)
    wall, trim, glass = (tint(c, light) for c in (facade.wall, facade.trim, facade.glass))
    awning, story = tint(facade.awning, light), facade.story

    def stripe(
        a: float, b: float, low: float, high: float, color: Color, tilt: float = 0.0
    ) -> None:
        """Fill a part of the wall; a and b run from 0 at start to 1 at end."""
        za, zb = z0 + (z1 - z0) * a, z0 + (z1 - z0) * b
        xa, xb = x0 + (x1 - x0) * a, x0 + (x1 - x0) * b
        out_x, out_z = tilt * normal[0], tilt * normal[2]
        outline = [project(xa + out_x, low, za + out_z), project(xa, high, za)]
        outline += [project(xb, high, zb), project(xb + out_x, low, zb + out_z)]
        canvas.fill(outline, color, ids.BUILDING, za)

    stripe(0.0, 1.0, 0.0, height, wall)
    bays, stories = max(1, int(length / facade.bay)), max(1, int(height / story))
    stripe(0.0, 1.0, height - 0.3, height, trim)
    shop = facade.shop and street
    if shop:
        stripe(0.0, 1.0, 0.0, story, tint(wall, 0.7))
        stripe(0.0, 1.0, story - 0.7, story - 0.1, awning)
    half_window = 0.5 * facade.opening[0] / bays
    for bay in range(bays):
        middle = (bay + 0.5) / bays
        a, b = middle - half_window, middle + half_window
        column0 = project(x0 + (x1 - x0) * a, 0.0, z0 + (z1 - z0) * a)[0]
        column1 = project(x0 + (x1 - x0) * b, 0.0, z0 + (z1 - z0) * b)[0]
        off_canvas = max(column0, column1) < 0 or min(column0, column1) > canvas.camera.width
        if off_canvas or abs(column1 - column0) < _SMALLEST_WINDOW:
            continue
        wide = abs(column1 - column0) > 4 * _SMALLEST_WINDOW
        door = street and bay == bays // 2 and not shop
        if shop:
            left, right = a - 0.2 / bays, b + 0.2 / bays
            stripe(left, right, 0.5, story - 0.8, glass)
            if dice.chance(0.4):
                stripe(left, right, story - 1.2, story - 0.5, awning, 0.9)
        elif door:
            stripe(a, b, 0.0, 2.2, tint(facade.awning, 0.6 * light))
        for floor in range(1 if shop or door else 0, stories):
            low = (floor + 0.5 - 0.5 * facade.opening[1]) * story
            high = low + facade.opening[1] * story
            if high > height - 0.3:
                break
            if wide:
                rim = 0.12 / bays
                stripe(a - rim, b + rim, low - 0.12, high + 0.12, trim)
            stripe(a, b, low, high, tint(glass, dice.uniform(0.6, 1.35)))
            if wide and dice.chance(0.5):
                stripe(middle - 0.04 / bays, middle + 0.04 / bays, low, high, trim)
