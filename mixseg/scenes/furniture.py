"""Street furniture and enclosures: poles, lights, signs, walls, fences, clutter."""

from __future__ import annotations

import math

from mixseg.scenes import labels as ids
from mixseg.scenes.canvas import Canvas
from mixseg.scenes.world import Color, Point, blend, circle, tint

_SIGN_COLORS: tuple[tuple[Color, Color], ...] = (
    ((225, 225, 225), (190, 25, 30)),
    ((30, 70, 170), (235, 235, 235)),
    ((235, 200, 40), (30, 30, 30)),
    ((200, 30, 35), (240, 240, 240)),
    ((25, 110, 70), (240, 240, 240)),
    ((235, 235, 235), (40, 40, 40)),
)
"""Faces and their marks."""


def draw_pole(canvas: Canvas, x: float, z: float, height: float, color: Color) -> None:
    """An upright pole; never thinner than two image pixels, or no network could find it."""
    thickness = max(0.18, 4.2 / canvas.camera.scale(z))
    canvas.limb((x, 0.0, z), (x, height, z), thickness, color, ids.POLE)


def draw_lamp(canvas: Canvas, x: float, z: float, color: Color) -> None:
    """A street lamp whose arm reaches over the road."""
    dice = canvas.dice
    height = dice.uniform(5.5, 8.5)
    reach = -math.copysign(dice.uniform(0.8, 2.2), x)
    draw_pole(canvas, x, z, height, color)
    canvas.limb((x, height, z), (x + reach, height + 0.3, z), 0.1, color, ids.POLE)
    start, end = (x + reach, height + 0.25, z), (x + 1.35 * reach, height + 0.2, z)
    canvas.limb(start, end, 0.22, tint(color, 0.8), ids.POLE)


def draw_traffic_light(
    canvas: Canvas, x: float, z: float, color: Color, overhead: float = 0.0
) -> None:
    """A three-lamp signal on a pole, or on an arm that reaches ``overhead`` meters sideways."""
    dice = canvas.dice
    top = dice.uniform(5.0, 6.0) if overhead else dice.uniform(3.0, 3.8)
    draw_pole(canvas, x, z, top, color)
    heads = [(x, 2.3)] if overhead else [(x, top - 0.9)]
    if overhead:
        canvas.limb((x, top, z), (x + overhead, top, z), 0.14, color, ids.POLE)
        heads.append((x + overhead, top - 1.0))
    housing: Color = dice.pick(((25, 28, 26), (45, 48, 45), (35, 60, 45)))
    lit, tall = dice.integer(0, 2), 1.4
    for head, base in heads:
        canvas.board(
            head - 0.32, head + 0.32, base, base + tall, z - 0.1, housing, ids.TRAFFIC_LIGHT
        )
        for lamp, bright in enumerate(((70, 235, 120), (250, 180, 40), (250, 50, 40))):
            glow = blend(housing, bright, 1.0 if lamp == lit else 0.22)
            center = (head, base + tall * (0.18 + 0.32 * lamp), z - 0.1)
            canvas.ball(center, 0.2, glow, ids.TRAFFIC_LIGHT)


def draw_sign(canvas: Canvas, x: float, z: float, color: Color) -> None:
    """One or two traffic signs on a pole: disc, triangle, square, diamond or direction board."""
    dice = canvas.dice
    base = dice.uniform(1.9, 2.5)
    plates = 2 if dice.chance(0.3) else 1
    draw_pole(canvas, x, z, base + 0.75 * plates, color)
    for plate in range(plates):
        face, mark = dice.pick(_SIGN_COLORS)
        size = dice.uniform(0.42, 0.6)
        y = base + 0.4 + 0.85 * plate
        corners = dice.pick((3, 4, 4, 8, 10, 10))
        turn = math.pi / 2 if corners in (3, 8, 10) else dice.pick((0.0, math.pi / 4))
        wide = dice.uniform(1.2, 1.9) if corners == 4 and turn else 1.0
        glyph = size * dice.uniform(0.3, 0.5)
        for outline, radius, stretch, paint in (
            (circle(corners, turn), size, wide, mark),
            (circle(corners, turn), size * 0.78, wide, face),
            (circle(4, math.pi / 4), glyph, 0.5 * wide, mark),
        ):
            disc = [(x + stretch * radius * c, y + radius * s, z - 0.1) for c, s in outline]
            canvas.polygon(disc, paint, ids.TRAFFIC_SIGN)


def draw_gantry(canvas: Canvas, left: float, right: float, z: float, color: Color) -> None:
    """A beam over the road that carries large direction boards."""
    dice = canvas.dice
    height, label = 6.0, ids.TRAFFIC_SIGN
    for x in (left, right):
        draw_pole(canvas, x, z, height, color)
    canvas.limb((left, height, z), (right, height, z), 0.3, color, ids.POLE)
    face, mark = dice.pick(_SIGN_COLORS[1:5:3])
    x, z = left + dice.uniform(0.5, 1.5), z - 0.1
    while x < right - 2.5:
        wide = min(dice.uniform(2.5, 4.0), right - x - 0.3)
        canvas.board(x, x + wide, height - 1.2, height + 0.9, z, mark, label)
        canvas.board(x + 0.1, x + wide - 0.1, height - 1.1, height + 0.8, z, face, label)
        for row in (0.0, 0.7):
            low, high = height - 0.6 + row, height - 0.35 + row
            canvas.board(x + 0.4, x + wide * 0.75, low, high, z, mark, label)
        x += wide + dice.uniform(0.8, 3.0)


def draw_wall(
    canvas: Canvas, x: float, near: float, far: float, height: float, color: Color, pattern: str
) -> None:
    """A free-standing wall along the street; its pattern is "panels", "courses" or "plain"."""
    lit = tint(color, canvas.light((-math.copysign(1.0, x), 0.0, 0.0)))
    canvas.polygon(_upright(x, near, far, 0.0, height), lit, ids.WALL)
    end = tint(color, canvas.light((0.0, 0.0, -1.0)))
    canvas.board(x, x + math.copysign(0.35, x), 0, height, near, end, ids.WALL)
    canvas.polygon(_upright(x, near, far, height - 0.18, height), tint(lit, 1.2), ids.WALL)
    if pattern == "courses":
        for row in range(1, 4):
            y = height * row / 4
            canvas.polygon(_upright(x, near, far, y, y + 0.05), tint(lit, 0.72), ids.WALL)
    elif pattern == "panels":
        z = near + 3.0
        while z < min(far, 50.0):
            canvas.polygon(_upright(x, z, z + 0.2, 0.0, height), tint(lit, 0.75), ids.WALL)
            z += 3.0


_FENCES = {
    "pickets": ((0.25, 0.8), 0.09, 0.32, 0.16),
    "mesh": ((0.05, 0.35, 0.65, 0.97), 0.04, 0.55, 0.05),
    "rails": ((0.3, 0.62, 0.95), 0.09, 2.2, 0.14),
}
"""Pattern -> heights of its rails as shares, their thickness, distance and width of its slats."""


def draw_fence(
    canvas: Canvas, x: float, near: float, far: float, height: float, color: Color, pattern: str
) -> None:
    """A see-through fence along the street; its gaps are labeled fence, as in Cityscapes."""
    canvas.relabel([_upright(x, near, far, 0.0, height)], ids.FENCE)
    lit = tint(color, canvas.light((-math.copysign(1.0, x), 0.0, 0.0)))
    rails, thick, step, wide = _FENCES[pattern]
    for share in rails:
        y = share * height
        canvas.polygon(_upright(x, near, far, y, y + thick), lit, ids.FENCE)
    z = near
    while z < far:
        canvas.polygon(_upright(x, z, z + wide, 0.0, height), lit, ids.FENCE)
        # Slats that would fall on the same pixel are left out.
        apart = 5.0 * z * z / (canvas.camera.focal * max(abs(x), 1.0))
        z += max(step, apart)


def draw_clutter(canvas: Canvas, x: float, z: float, color: Color) -> None:
    """A bin, cabinet or bollard box on the sidewalk; Cityscapes leaves those out (static)."""
    dice = canvas.dice
    half, height = dice.uniform(0.2, 0.45), dice.uniform(0.7, 1.3)
    canvas.board(x - half, x + half, 0.0, height, z, tint(color, 0.8), ids.STATIC)
    canvas.board(x - 1.1 * half, x + 1.1 * half, height, height + 0.12, z, color, ids.STATIC)


def _upright(x: float, near: float, far: float, low: float, high: float) -> list[Point]:
    """A rectangle that stands along the street; long ones follow its bend."""
    steps = 1 if far - near < 4.0 else 6
    # Even steps in 1/z are even steps on the screen.
    depths = [1.0 / (1.0 / near + (1.0 / far - 1.0 / near) * i / steps) for i in range(steps + 1)]
    return [(x, low, z) for z in depths] + [(x, high, z) for z in reversed(depths)]
