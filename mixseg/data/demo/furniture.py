"""Street furniture and enclosures: poles, lights, signs, walls, fences, hedges, clutter."""

from __future__ import annotations

import math

from mixseg.data.demo import labels as ids
from mixseg.data.demo.canvas import Canvas, Colour, blend, tint
from mixseg.data.demo.dice import Dice
from mixseg.data.demo.geometry import Point

_SIGN_COLOURS: tuple[tuple[Colour, Colour], ...] = (
    ((225, 225, 225), (190, 25, 30)),
    ((30, 70, 170), (235, 235, 235)),
    ((235, 200, 40), (30, 30, 30)),
    ((200, 30, 35), (240, 240, 240)),
    ((25, 110, 70), (240, 240, 240)),
    ((235, 235, 235), (40, 40, 40)),
)


def draw_pole(canvas: Canvas, x: float, z: float, height: float, colour: Colour) -> None:
    """An upright pole; never thinner than two image pixels, or no network could find it."""
    thickness = max(0.18, 4.2 / canvas.camera.scale(z))
    canvas.limb((x, 0.0, z), (x, height, z), thickness, colour, ids.POLE)


def draw_lamp(canvas: Canvas, x: float, z: float, colour: Colour, dice: Dice) -> None:
    """A street lamp whose arm reaches over the road."""
    height = dice.uniform(5.5, 8.5)
    reach = -math.copysign(dice.uniform(0.8, 2.2), x)
    draw_pole(canvas, x, z, height, colour)
    canvas.limb((x, height, z), (x + reach, height + 0.3, z), 0.1, colour, ids.POLE)
    canvas.limb(
        (x + reach, height + 0.25, z),
        (x + 1.35 * reach, height + 0.2, z),
        0.22,
        tint(colour, 0.8),
        ids.POLE,
    )


def draw_traffic_light(
    canvas: Canvas, x: float, z: float, colour: Colour, dice: Dice, *, overhead: float = 0.0
) -> None:
    """A three-lamp signal on a pole, or on an arm that reaches ``overhead`` metres sideways."""
    top = dice.uniform(5.0, 6.0) if overhead else dice.uniform(3.0, 3.8)
    draw_pole(canvas, x, z, top, colour)
    heads = [(x, 2.3)] if overhead else [(x, top - 0.9)]
    if overhead:
        canvas.limb((x, top, z), (x + overhead, top, z), 0.14, colour, ids.POLE)
        heads.append((x + overhead, top - 1.0))
    housing: Colour = dice.pick(((25, 28, 26), (45, 48, 45), (35, 60, 45)))
    lit = dice.integer(0, 2)
    for head_x, base in heads:
        half, tall = 0.32, 1.4
        z_head = z - 0.1
        canvas.polygon(
            [
                (head_x - half, base, z_head),
                (head_x - half, base + tall, z_head),
                (head_x + half, base + tall, z_head),
                (head_x + half, base, z_head),
            ],
            housing,
            ids.TRAFFIC_LIGHT,
        )
        for lamp, bright in enumerate(((70, 235, 120), (250, 180, 40), (250, 50, 40))):
            glow = blend(housing, bright, 1.0 if lamp == lit else 0.22)
            centre = (head_x, base + tall * (0.18 + 0.32 * lamp), z_head)
            canvas.ball(centre, 0.2, glow, ids.TRAFFIC_LIGHT)


def draw_sign(canvas: Canvas, x: float, z: float, colour: Colour, dice: Dice) -> None:
    """One or two traffic signs on a pole: disc, triangle, square, diamond or direction board."""
    base = dice.uniform(1.9, 2.5)
    plates = 2 if dice.chance(0.3) else 1
    draw_pole(canvas, x, z, base + 0.75 * plates, colour)
    for plate in range(plates):
        face, mark = dice.pick(_SIGN_COLOURS)
        size = dice.uniform(0.42, 0.6)
        y = base + 0.4 + 0.85 * plate
        corners = dice.pick((3, 4, 4, 8, 10, 10))
        turn = math.pi / 2 if corners in (3, 8, 10) else dice.pick((0.0, math.pi / 4))
        wide = dice.uniform(1.2, 1.9) if corners == 4 and turn else 1.0
        for scale, paint in ((1.0, mark), (0.78, face)):
            canvas.polygon(
                _disc(x, y, z - 0.1, size * scale, corners, turn, wide), paint, ids.TRAFFIC_SIGN
            )
        glyph = size * dice.uniform(0.3, 0.5)
        canvas.polygon(
            _disc(x, y, z - 0.1, glyph, 4, math.pi / 4, 0.5 * wide), mark, ids.TRAFFIC_SIGN
        )


def draw_gantry(
    canvas: Canvas, left: float, right: float, z: float, colour: Colour, dice: Dice
) -> None:
    """A beam over the road that carries large direction boards."""
    height = 6.0
    for x in (left, right):
        draw_pole(canvas, x, z, height, colour)
    canvas.limb((left, height, z), (right, height, z), 0.3, colour, ids.POLE)
    face, mark = dice.pick(_SIGN_COLOURS[1:5:3])
    x = left + dice.uniform(0.5, 1.5)
    while x < right - 2.5:
        wide = min(dice.uniform(2.5, 4.0), right - x - 0.3)
        _board(canvas, x, x + wide, height - 1.2, height + 0.9, z - 0.1, mark)
        _board(canvas, x + 0.1, x + wide - 0.1, height - 1.1, height + 0.8, z - 0.1, face)
        for row in (0.0, 0.7):
            _board(
                canvas,
                x + 0.4,
                x + wide * 0.75,
                height - 0.6 + row,
                height - 0.35 + row,
                z - 0.1,
                mark,
            )
        x += wide + dice.uniform(0.8, 3.0)


def draw_wall(
    canvas: Canvas, x: float, near: float, far: float, height: float, colour: Colour, pattern: str
) -> None:
    """A free-standing wall along the street.

    Args:
        canvas: Surface to draw on.
        x: Sideways position in metres.
        near: Depth of its near end in metres.
        far: Depth of its far end in metres.
        height: Height in metres.
        colour: Colour of the sunlit wall.
        pattern: ``"panels"``, ``"courses"`` (rows of blocks) or ``"plain"``.
    """
    lit = tint(colour, canvas.light((-math.copysign(1.0, x), 0.0, 0.0)))
    canvas.polygon(_upright(x, near, far, 0.0, height), lit, ids.WALL)
    outer = x + math.copysign(0.35, x)
    end = tint(colour, canvas.light((0.0, 0.0, -1.0)))
    canvas.polygon(
        [(x, 0, near), (x, height, near), (outer, height, near), (outer, 0, near)], end, ids.WALL
    )
    canvas.polygon(_upright(x, near, far, height - 0.18, height), tint(lit, 1.2), ids.WALL)
    if pattern == "courses":
        for row in range(1, 4):
            y = height * row / 4
            canvas.polygon(_upright(x, near, far, y, y + 0.05), tint(lit, 0.72), ids.WALL)
    elif pattern == "panels":
        step = 3.0
        z = near + step
        while z < min(far, 50.0):
            canvas.polygon(_upright(x, z, z + 0.2, 0.0, height), tint(lit, 0.75), ids.WALL)
            z += step


def draw_fence(
    canvas: Canvas, x: float, near: float, far: float, height: float, colour: Colour, pattern: str
) -> None:
    """A see-through fence along the street; its gaps are labelled fence, as in Cityscapes.

    Args:
        canvas: Surface to draw on.
        x: Sideways position in metres.
        near: Depth of its near end in metres.
        far: Depth of its far end in metres.
        height: Height in metres.
        colour: Colour of slats, wires and rails.
        pattern: ``"pickets"``, ``"mesh"`` or ``"rails"``.
    """
    project = canvas.camera.project
    canvas.relabel([[project(*p) for p in _upright(x, near, far, 0.0, height)]], ids.FENCE)
    lit = tint(colour, canvas.light((-math.copysign(1.0, x), 0.0, 0.0)))
    rails = {"pickets": (0.25, 0.8), "mesh": (0.05, 0.35, 0.65, 0.97), "rails": (0.3, 0.62, 0.95)}
    for share in rails[pattern]:
        y = share * height
        thick = 0.04 if pattern == "mesh" else 0.09
        canvas.polygon(_upright(x, near, far, y, y + thick), lit, ids.FENCE)
    step = {"pickets": 0.32, "mesh": 0.55, "rails": 2.2}[pattern]
    wide = {"pickets": 0.16, "mesh": 0.05, "rails": 0.14}[pattern]
    z = near
    while z < far:
        canvas.polygon(_upright(x, z, z + wide, 0.0, height), lit, ids.FENCE)
        # Slats that would fall on the same pixel are left out.
        apart = 5.0 * z * z / (canvas.camera.focal * max(abs(x), 1.0))
        z += max(step, apart)


def draw_clutter(canvas: Canvas, x: float, z: float, colour: Colour, dice: Dice) -> None:
    """A bin, cabinet or bollard box on the pavement; Cityscapes leaves those out (static)."""
    half, height = dice.uniform(0.2, 0.45), dice.uniform(0.7, 1.3)
    _board(canvas, x - half, x + half, 0.0, height, z, tint(colour, 0.8), ids.STATIC)
    _board(canvas, x - 1.1 * half, x + 1.1 * half, height, height + 0.12, z, colour, ids.STATIC)


def _upright(x: float, near: float, far: float, low: float, high: float) -> list[Point]:
    """A rectangle that stands along the street; long ones follow its bend."""
    steps = 1 if far - near < 4.0 else 6
    # Even steps in 1/z are even steps on the screen.
    depths = [1.0 / (1.0 / near + (1.0 / far - 1.0 / near) * i / steps) for i in range(steps + 1)]
    return [(x, low, z) for z in depths] + [(x, high, z) for z in reversed(depths)]


def _board(
    canvas: Canvas,
    x0: float,
    x1: float,
    y0: float,
    y1: float,
    z: float,
    colour: Colour,
    label: int = ids.TRAFFIC_SIGN,
) -> None:
    """A rectangle that faces the camera."""
    canvas.polygon([(x0, y0, z), (x0, y1, z), (x1, y1, z), (x1, y0, z)], colour, label)


def _disc(
    x: float, y: float, z: float, radius: float, corners: int, turn: float, wide: float
) -> list[Point]:
    """A regular polygon that faces the camera."""
    angles = [turn + math.tau * i / corners for i in range(corners)]
    return [(x + wide * radius * math.cos(a), y + radius * math.sin(a), z) for a in angles]
