"""Cars, trucks, buses and trams: solids that are swept across the width of a side profile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

from mixseg.data.demo import labels as ids
from mixseg.data.demo.canvas import Canvas, Colour, tint
from mixseg.data.demo.dice import Dice
from mixseg.data.demo.geometry import Pose, signed_area

_RUBBER: Colour = (28, 28, 30)
_RED: Colour = (200, 25, 28)
_LAMP: Colour = (250, 246, 220)
_AMBER: Colour = (240, 160, 40)

_SMALLEST_FACE = 1.0
"""Twice the area in square canvas pixels from which a face is painted."""

Profile = Sequence[tuple[float, float]]
"""Outline (along, up) in metres, from the lower rear over the top to the lower front."""


@final
class _Solid:
    """A profile swept across the width of a vehicle; draws only faces that the camera sees.

    Args:
        canvas: Surface to draw on.
        pose: Where the vehicle stands.
        profile: Side outline.
        half_widths: Half width in metres at each point of the profile.
        label: Label of every part.
    """

    def __init__(
        self,
        canvas: Canvas,
        pose: Pose,
        profile: Profile,
        half_widths: Sequence[float],
        label: int,
    ) -> None:
        self.canvas, self.pose, self.label = canvas, pose, label
        self.profile, self.half_widths = profile, half_widths

    def paint(self, side: Colour, strips: Sequence[Colour]) -> None:
        """Fills the solid: ``strips`` are the faces between neighbouring profile points."""
        points = list(zip(self.profile, self.half_widths, strict=True))
        sin, cos = self.pose.sin, self.pose.cos
        for (here, half), (there, half2), colour in zip(points, points[1:], strips, strict=False):
            run, rise = there[0] - here[0], there[1] - here[1]
            length = math.hypot(run, rise) or 1.0
            normal = (-rise / length * sin, run / length, -rise / length * cos)
            self.face(
                [(*here, -half), (*there, -half2), (*there, half2), (*here, half)],
                tint(colour, self.canvas.light(normal)),
            )
        for hand in (-1.0, 1.0):
            outline = [(along, up, hand * half) for (along, up), half in points]
            light = self.canvas.light((hand * cos, 0.0, -hand * sin))
            self.face(outline if hand > 0 else outline[::-1], tint(side, light))

    def face(self, corners: Sequence[tuple[float, float, float]], colour: Colour) -> None:
        """Fills a face given as (along, up, across), clockwise seen from outside."""
        world, project = self.pose.world, self.canvas.camera.project
        points = [world(along, across, up) for along, up, across in corners]
        outline = [project(*p) for p in points]
        # Faces turned away have a negative area; those under a pixel would not be seen.
        if signed_area(outline) > _SMALLEST_FACE:
            self.canvas.fill(outline, colour, self.label, points[0][2])

    def on_sides(self, shape: Profile, half: float, colour: Colour) -> None:
        """Paints a shape (as a profile, clockwise from the right) on both long sides."""
        for hand in (-1.0, 1.0):
            corners = [(along, up, hand * half) for along, up in shape]
            self.face(corners if hand > 0 else corners[::-1], colour)

    def on_end(
        self, along: float, low: float, high: float, left: float, right: float, colour: Colour
    ) -> None:
        """Paints a rectangle on the rear (along below 0) or front; left and right are metres."""
        corners = [
            (along, low, left),
            (along, high, left),
            (along, high, right),
            (along, low, right),
        ]
        self.face(corners if along < 0 else corners[::-1], colour)

    def wheels(self, places: Sequence[float], radius: float, half: float, rim: Colour) -> None:
        """Wheels at the given places along the vehicle, on the sides that are seen."""
        circle = [(math.sin(math.tau * i / 10), math.cos(math.tau * i / 10)) for i in range(10)]
        for along in places:
            for size, colour in ((radius, _RUBBER), (0.55 * radius, rim)):
                shape = [(along + size * s, radius + size * c) for s, c in circle]
                self.on_sides(shape, half, colour)


def draw_shadow(canvas: Canvas, pose: Pose, length: float, width: float, height: float) -> None:
    """The shadow under and beside something, away from the sun."""
    reach, side = 0.5 * length, 0.5 * width
    corners = ((-reach, -side), (reach, -side), (reach, side), (-reach, side))
    base = [pose.world(along, across, 0.0) for along, across in corners]
    shift = -0.6 * height * canvas.sun[0]
    canvas.shade_ground([(x + shift, y, z) for x, y, z in base], 0.42)
    canvas.shade_ground(base, 0.66)


_CAR_SHAPES: dict[str, tuple[float, float, float, tuple[float, float, float, float]]] = {
    # length, width, height in metres; where rear window, roof and windscreen lie along the car
    "hatchback": (3.9, 1.72, 1.48, (-0.49, -0.40, 0.10, 0.27)),
    "saloon": (4.6, 1.8, 1.43, (-0.36, -0.22, 0.09, 0.25)),
    "estate": (4.7, 1.8, 1.48, (-0.49, -0.42, 0.09, 0.25)),
    "off-roader": (4.6, 1.9, 1.78, (-0.49, -0.44, 0.10, 0.24)),
    "van": (5.0, 1.95, 2.0, (-0.495, -0.47, 0.24, 0.38)),
    "coupe": (4.3, 1.8, 1.28, (-0.44, -0.16, 0.06, 0.23)),
}


def draw_car(canvas: Canvas, pose: Pose, paint: Colour, dice: Dice) -> None:
    """A car of a random shape."""
    length, width, height, (r0, r1, f1, f0) = _CAR_SHAPES[dice.pick(tuple(_CAR_SHAPES))]
    half, waist = 0.5 * width, 0.6 * height
    draw_shadow(canvas, pose, length, width, height)
    glass: Colour = dice.pick(((38, 44, 52), (60, 72, 84), (22, 24, 28)))
    rear, front = -0.5 * length, 0.5 * length
    body = _Solid(
        canvas,
        pose,
        [
            (rear, 0.28),
            (rear - 0.03, 0.5),
            (rear + 0.05, waist),
            (front - 0.3, 0.88 * waist),
            (front, 0.5),
            (front - 0.03, 0.25),
        ],
        [half] * 6,
        ids.CAR,
    )
    body.paint(paint, [tint(paint, 0.8), paint, paint, paint, tint(paint, 0.8)])
    cabin = _Solid(
        canvas,
        pose,
        [(r0 * length, waist), (r1 * length, height), (f1 * length, height), (f0 * length, waist)],
        [0.94 * half, 0.76 * half, 0.76 * half, 0.94 * half],
        ids.CAR,
    )
    cabin.paint(paint, [glass, paint, glass])
    side_glass = tint(glass, 0.9)
    low, high = waist + 0.05, height - 0.1
    for share0, share1 in ((0.06, 0.47), (0.53, 0.94)):
        base0, base1 = r0 + (f0 - r0) * share0, r0 + (f0 - r0) * share1
        top0, top1 = r1 + (f1 - r1) * share0, r1 + (f1 - r1) * share1
        shape = [
            (base0 * length, low),
            (top0 * length, high),
            (top1 * length, high),
            (base1 * length, low),
        ]
        cabin.on_sides(shape, 0.86 * half, side_glass)
    body.wheels((-0.31 * length, 0.31 * length), 0.33, half, (150, 152, 156))
    for hand in (-1.0, 1.0):
        inner, outer = 0.6 * hand * half, 0.97 * hand * half
        left, right = min(inner, outer), max(inner, outer)
        body.on_end(rear - 0.03, 0.6, waist - 0.05, left, right, _RED)
        body.on_end(front + 0.01, 0.5, 0.7, left, right, _LAMP)
        edges = sorted((0.62 * hand * half, 0.95 * hand * half))
        body.on_end(rear - 0.04, 0.0, 0.3, edges[0], edges[1], _RUBBER)
        body.on_end(front + 0.02, 0.0, 0.28, edges[0], edges[1], _RUBBER)
    body.on_end(rear - 0.04, 0.45, 0.58, -0.27, 0.27, (225, 225, 215))
    body.on_end(front + 0.02, 0.34, 0.46, -0.27, 0.27, (225, 225, 215))
    body.on_end(front + 0.01, 0.5, 0.66, -0.5 * half, 0.5 * half, tint(paint, 0.3))


def draw_truck(canvas: Canvas, pose: Pose, paint: Colour, cargo: Colour, dice: Dice) -> None:
    """A lorry: a cab in front of a box, a tank-like load or an open bed."""
    length, half = dice.uniform(6.5, 10.5), 1.2
    height = dice.uniform(2.9, 3.7)
    rear, front = -0.5 * length, 0.5 * length
    split = front - 1.9
    draw_shadow(canvas, pose, length, 2.4, height)
    chassis = _Solid(
        canvas, pose, [(rear, 0.5), (rear, 1.0), (front, 1.0), (front, 0.5)], [half] * 4, ids.TRUCK
    )
    cab_height = min(height, dice.uniform(2.5, 3.0))

    def cab() -> None:
        solid = _Solid(
            canvas,
            pose,
            [
                (split + 0.1, 0.4),
                (split + 0.1, cab_height),
                (front - 0.25, cab_height),
                (front, 1.5),
                (front, 0.4),
            ],
            [half] * 5,
            ids.TRUCK,
        )
        solid.paint(paint, [paint] * 4)
        glass: Colour = (45, 52, 60)
        solid.face(
            [
                (front + 0.01, 1.55, half * 0.9),
                (front - 0.2, cab_height - 0.25, half * 0.9),
                (front - 0.2, cab_height - 0.25, -half * 0.9),
                (front + 0.01, 1.55, -half * 0.9),
            ],
            glass,
        )
        solid.on_sides(
            [
                (split + 0.7, 1.5),
                (split + 0.7, cab_height - 0.35),
                (front - 0.35, cab_height - 0.35),
                (front - 0.15, 1.5),
            ],
            half,
            glass,
        )
        solid.on_end(front + 0.01, 0.9, 1.3, -0.6 * half, 0.6 * half, tint(paint, 0.35))
        for hand in (-1.0, 1.0):
            left, right = sorted((0.65 * hand * half, 0.95 * hand * half))
            solid.on_end(front + 0.01, 0.6, 0.85, left, right, _LAMP)

    def load() -> None:
        top = height if dice.chance(0.75) else dice.uniform(1.7, 2.1)
        solid = _Solid(
            canvas,
            pose,
            [(rear, 0.95), (rear, top), (split, top), (split, 0.95)],
            [half * 1.04] * 4,
            ids.TRUCK,
        )
        solid.paint(cargo, [cargo, tint(cargo, 0.9), cargo])
        seam = tint(cargo, 0.72)
        solid.on_end(rear - 0.01, 1.0, top - 0.1, -0.03, 0.03, seam)
        solid.on_end(rear - 0.01, 0.95, 1.1, -half, half, seam)
        steps = 4
        for i in range(1, steps):
            at = rear + (split - rear) * i / steps
            solid.on_sides(
                [(at, 1.0), (at, top), (at + 0.07, top), (at + 0.07, 1.0)], half * 1.05, seam
            )
        if dice.chance(0.5):
            mid, span = 0.5 * (1.0 + top), 0.2 * (top - 1.0)
            solid.on_sides(
                [
                    (rear + 0.8, mid - span),
                    (rear + 0.8, mid + span),
                    (split - 0.8, mid + span),
                    (split - 0.8, mid - span),
                ],
                half * 1.05,
                tint(paint, 0.9),
            )

    chassis.paint(tint(_RUBBER, 1.5), [tint(_RUBBER, 1.5)] * 3)
    # The part that is farther away is painted first.
    for part in (cab, load) if pose.cos > 0 else (load, cab):
        part()
    chassis.wheels((rear + 1.0, rear + 2.1, front - 1.2), 0.48, half, (120, 120, 124))
    for hand in (-1.0, 1.0):
        left, right = sorted((0.6 * hand * half, 0.97 * hand * half))
        chassis.on_end(rear - 0.02, 0.62, 0.85, left, right, _RED)
        chassis.on_end(rear - 0.02, 0.0, 0.55, left, right, _RUBBER)
        chassis.on_end(front + 0.02, 0.0, 0.45, left, right, _RUBBER)


def draw_bus(canvas: Canvas, pose: Pose, paint: Colour, band: Colour, dice: Dice) -> None:
    """A city bus: rows of windows, doors, a destination board and big end windows."""
    length, half, height = dice.uniform(9.5, 12.5), 1.27, dice.uniform(2.95, 3.25)
    draw_shadow(canvas, pose, length, 2.5, height)
    _draw_coach(canvas, pose, length, half, height, 0.35, paint, band, ids.BUS)
    rear, front = -0.5 * length, 0.5 * length
    trim = _Solid(canvas, pose, [], [], ids.BUS)
    trim.wheels((rear + 2.6, front - 2.6), 0.5, half * 1.01, (140, 140, 145))
    for door in (front - 1.3, 0.0):
        for leaf in (0.0, 0.55):
            corners = [
                (door - leaf - 0.45, 0.45, half * 1.01),
                (door - leaf - 0.45, 2.5, half * 1.01),
                (door - leaf, 2.5, half * 1.01),
                (door - leaf, 0.45, half * 1.01),
            ]
            trim.face(corners, (40, 46, 54))
    board: Colour = (22, 22, 24)
    for end in (rear - 0.02, front + 0.02):
        trim.on_end(end, height - 0.5, height - 0.15, -0.75, 0.75, board)
        trim.on_end(end, height - 0.42, height - 0.24, -0.5, 0.35, _AMBER)
    for hand in (-1.0, 1.0):
        left, right = sorted((0.68 * hand * half, 0.95 * hand * half))
        trim.on_end(rear - 0.02, 0.75, 1.2, left, right, _RED)
        trim.on_end(front + 0.02, 0.6, 0.85, left, right, _LAMP)
        trim.on_end(rear - 0.02, 0.0, 0.36, left, right, _RUBBER)
        trim.on_end(front + 0.02, 0.0, 0.36, left, right, _RUBBER)
    trim.on_end(rear - 0.02, 0.5, 0.62, -0.3, 0.3, (220, 220, 210))


def draw_tram(canvas: Canvas, pose: Pose, paint: Colour, band: Colour, dice: Dice) -> None:
    """A tram of two or three cars with skirts down to the rails, on a pantograph's wire."""
    car, half, height = dice.uniform(8.0, 10.0), 1.25, dice.uniform(3.3, 3.6)
    cars = dice.integer(2, 3)
    total = cars * car
    draw_shadow(canvas, pose, total, 2.5, height)
    order = range(cars) if pose.cos < 0 else range(cars - 1, -1, -1)
    for i in order:
        x, _, z = pose.world(-0.5 * total + (i + 0.5) * car, 0.0, 0.0)
        part = Pose(x, z, pose.heading)
        _draw_coach(canvas, part, car - 0.35, half, height, 0.12, paint, band, ids.TRAIN)
        if i == cars // 2:
            for along in (-0.9, 0.9):
                canvas.limb(
                    part.world(along, 0, height),
                    part.world(0, 0, height + 1.0),
                    0.08,
                    (60, 60, 64),
                    ids.TRAIN,
                )
    ends = _Solid(canvas, pose, [], [], ids.TRAIN)
    for end in (-0.5 * total + 0.15, 0.5 * total - 0.15):
        ends.on_end(end, height - 0.45, height - 0.1, -0.6, 0.6, (25, 25, 28))
        ends.on_end(end, height - 0.36, height - 0.2, -0.4, 0.4, _AMBER)
        ends.on_end(end, 0.12, 0.35, -half, half, (50, 50, 54))
        for hand in (-1.0, 1.0):
            left, right = sorted((0.5 * hand * half, 0.8 * hand * half))
            ends.on_end(end, 0.75, 0.98, left, right, _RED if end < 0 else _LAMP)


def _draw_coach(
    canvas: Canvas,
    pose: Pose,
    length: float,
    half: float,
    height: float,
    floor: float,
    paint: Colour,
    band: Colour,
    label: int,
) -> None:
    """A long body with a window row, large windows at both ends and a coloured band."""
    rear, front = -0.5 * length, 0.5 * length
    solid = _Solid(
        canvas,
        pose,
        [(rear, floor), (rear, height), (front, height), (front, floor)],
        [half] * 4,
        label,
    )
    solid.paint(paint, [paint, tint(paint, 0.9), paint])
    skirt = floor + 0.45
    solid.on_sides([(rear, floor), (rear, skirt), (front, skirt), (front, floor)], half, band)
    glass: Colour = (50, 58, 68)
    count = max(2, int(length / 1.5))
    step = length / count
    low, high = 1.35, height - 0.55
    for i in range(count):
        a, b = rear + i * step + 0.1, rear + (i + 1) * step - 0.1
        pane = tint(glass, 0.8 + 0.1 * (i % 4))
        solid.on_sides([(a, low), (a, high), (b, high), (b, low)], half, pane)
    for end, base in ((rear - 0.01, 1.5), (front + 0.01, 1.15)):
        solid.on_end(end, base, height - 0.55, -0.88 * half, 0.88 * half, glass)
        solid.on_end(end, floor, skirt, -half, half, band)
