"""Cars, trucks, buses and trams: solids that are swept across the width of a side profile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

from mixseg.scenes import labels as ids
from mixseg.scenes.canvas import Canvas
from mixseg.scenes.world import Color, Pixel, Point, Pose, circle, tint

_RUBBER: Color = (28, 28, 30)
_RED: Color = (200, 25, 28)
_LAMP: Color = (250, 246, 220)
_AMBER: Color = (240, 160, 40)
_PLATE: Color = (225, 225, 215)

_SMALLEST_FACE = 1.0
"""Twice the area in square canvas pixels from which a face is painted."""

_WHEEL = circle(10)

Profile = Sequence[tuple[float, float]]
"""Outline (along, up) in meters, from the lower rear over the top to the lower front."""

Mark = tuple[float, float, float, float, float, Color]
"""Rectangle on an end: along, low, high, and where it lies across as shares of the half width."""


def _rectangle(rear: float, front: float, low: float, high: float) -> Profile:
    return [(rear, low), (rear, high), (front, high), (front, low)]


def _signed_area(outline: list[Pixel]) -> float:
    """Twice the area of a polygon; positive where its points run clockwise on the screen."""
    area = 0.0
    x0, y0 = outline[-1]
    for x1, y1 in outline:
        area += x0 * y1 - x1 * y0
        x0, y0 = x1, y1
    return area


@final
class _Solid:
    """Paints the parts of a vehicle; of their faces only those that the camera sees."""

    def __init__(self, canvas: Canvas, pose: Pose, half: float, label: int) -> None:
        self.canvas, self.pose, self.half, self.label = canvas, pose, half, label

    def sweep(
        self, profile: Profile, side: Color, strips: Sequence[Color], shares: Sequence[float] = ()
    ) -> None:
        """A profile swept across, whose points have shares of the half width."""
        widths = [self.half * share for share in shares] or [self.half] * len(profile)
        points = list(zip(profile, widths, strict=True))
        sin, cos = self.pose.sin, self.pose.cos
        for (here, half), (there, half2), color in zip(points, points[1:], strips, strict=False):
            run, rise = there[0] - here[0], there[1] - here[1]
            length = math.hypot(run, rise) or 1.0
            normal = (-rise / length * sin, run / length, -rise / length * cos)
            self.face(
                [(*here, -half), (*there, -half2), (*there, half2), (*here, half)],
                tint(color, self.canvas.light(normal)),
            )
        for hand in (-1.0, 1.0):
            outline = [(along, up, hand * half) for (along, up), half in points]
            light = self.canvas.light((hand * cos, 0.0, -hand * sin))
            self.face(outline if hand > 0 else outline[::-1], tint(side, light))

    def face(self, corners: Sequence[Point], color: Color) -> None:
        """A face given as (along, up, across), clockwise seen from outside."""
        world, project = self.pose.world, self.canvas.camera.project
        points = [world(along, across, up) for along, up, across in corners]
        outline = [project(*p) for p in points]
        # Faces turned away have a negative area; those under a pixel would not be seen.
        if _signed_area(outline) > _SMALLEST_FACE:
            self.canvas.fill(outline, color, self.label, points[0][2])

    def on_sides(self, shape: Profile, share: float, color: Color) -> None:
        """A shape, clockwise seen from the right, on both sides at a share of the half width."""
        for hand in (-1.0, 1.0):
            corners = [(along, up, hand * (self.half * share)) for along, up in shape]
            self.face(corners if hand > 0 else corners[::-1], color)

    def on_end(
        self, along: float, low: float, high: float, left: float, right: float, color: Color
    ) -> None:
        """A rectangle on the rear (along below 0) or front, from left to right in meters."""
        corners = [(along, up, across) for across, up in _rectangle(left, right, low, high)]
        self.face(corners if along < 0 else corners[::-1], color)

    def marks(self, *marks: Mark) -> None:
        """Lamps and tires, which an end has on both sides."""
        for hand in (-1.0, 1.0):
            for along, low, high, inner, outer, color in marks:
                left, right = sorted((inner * hand * self.half, outer * hand * self.half))
                self.on_end(along, low, high, left, right, color)

    def wheels(self, at: Sequence[float], radius: float, rim: Color, share: float = 1.0) -> None:
        """Wheels at places along the vehicle."""
        for along in at:
            for size, color in ((radius, _RUBBER), (0.55 * radius, rim)):
                shape = [(along + size * s, radius + size * c) for c, s in _WHEEL]
                self.on_sides(shape, share, color)


_CAR_SHAPES = (
    # length, width, height in meters; where rear window, roof and windshield lie along the car
    (3.9, 1.72, 1.48, (-0.49, -0.40, 0.10, 0.27)),  # hatchback
    (4.6, 1.8, 1.43, (-0.36, -0.22, 0.09, 0.25)),  # sedan
    (4.7, 1.8, 1.48, (-0.49, -0.42, 0.09, 0.25)),  # station wagon
    (4.6, 1.9, 1.78, (-0.49, -0.44, 0.10, 0.24)),  # off-roader
    (5.0, 1.95, 2.0, (-0.495, -0.47, 0.24, 0.38)),  # van
    (4.3, 1.8, 1.28, (-0.44, -0.16, 0.06, 0.23)),  # coupe
)


def draw_car(canvas: Canvas, pose: Pose, paint: Color) -> None:
    """A car of a random shape."""
    dice = canvas.dice
    length, width, height, (r0, r1, f1, f0) = dice.pick(_CAR_SHAPES)
    half, waist = 0.5 * width, 0.6 * height
    canvas.shade_below(pose, length, width, height)
    glass: Color = dice.pick(((38, 44, 52), (60, 72, 84), (22, 24, 28)))
    rear, front = -0.5 * length, 0.5 * length
    car = _Solid(canvas, pose, half, ids.CAR)
    lower = [
        (rear, 0.28), (rear - 0.03, 0.5), (rear + 0.05, waist),
        (front - 0.3, 0.88 * waist), (front, 0.5), (front - 0.03, 0.25),
    ]  # fmt: skip
    car.sweep(lower, paint, [tint(paint, 0.8), paint, paint, paint, tint(paint, 0.8)])
    along = (r0 * length, r1 * length, f1 * length, f0 * length)
    upper = list(zip(along, (waist, height, height, waist), strict=True))
    car.sweep(upper, paint, [glass, paint, glass], (0.94, 0.76, 0.76, 0.94))
    low, high = waist + 0.05, height - 0.1
    for share0, share1 in ((0.06, 0.47), (0.53, 0.94)):
        base0, base1 = (length * (r0 + (f0 - r0) * share) for share in (share0, share1))
        top0, top1 = (length * (r1 + (f1 - r1) * share) for share in (share0, share1))
        pane = [(base0, low), (top0, high), (top1, high), (base1, low)]
        car.on_sides(pane, 0.86, tint(glass, 0.9))
    car.wheels((-0.31 * length, 0.31 * length), 0.33, (150, 152, 156))
    car.marks(
        (rear - 0.03, 0.6, waist - 0.05, 0.6, 0.97, _RED),
        (front + 0.01, 0.5, 0.7, 0.6, 0.97, _LAMP),
        (rear - 0.04, 0.0, 0.3, 0.62, 0.95, _RUBBER),
        (front + 0.02, 0.0, 0.28, 0.62, 0.95, _RUBBER),
    )
    car.on_end(rear - 0.04, 0.45, 0.58, -0.27, 0.27, _PLATE)
    car.on_end(front + 0.02, 0.34, 0.46, -0.27, 0.27, _PLATE)
    car.on_end(front + 0.01, 0.5, 0.66, -0.5 * half, 0.5 * half, tint(paint, 0.3))


def draw_truck(canvas: Canvas, pose: Pose, paint: Color, cargo: Color) -> None:
    """A cab in front of a box or a low load."""
    dice = canvas.dice
    length, half = dice.uniform(6.5, 10.5), 1.2
    height = dice.uniform(2.9, 3.7)
    rear, front = -0.5 * length, 0.5 * length
    split = front - 1.9
    canvas.shade_below(pose, length, 2.4, height)
    truck = _Solid(canvas, pose, half, ids.TRUCK)
    roof = min(height, dice.uniform(2.5, 3.0))

    def cab() -> None:
        back = split + 0.1
        profile = [(back, 0.4), (back, roof), (front - 0.25, roof), (front, 1.5), (front, 0.4)]
        truck.sweep(profile, paint, [paint] * 4)
        glass: Color = (45, 52, 60)
        (bottom, low), (top, high) = (front + 0.01, 1.55), (front - 0.2, roof - 0.25)
        side = half * 0.9
        truck.face(
            [(bottom, low, side), (top, high, side), (top, high, -side), (bottom, low, -side)],
            glass,
        )
        back, high = split + 0.7, roof - 0.35
        pane = [(back, 1.5), (back, high), (front - 0.35, high), (front - 0.15, 1.5)]
        truck.on_sides(pane, 1.0, glass)
        truck.on_end(front + 0.01, 0.9, 1.3, -0.6 * half, 0.6 * half, tint(paint, 0.35))
        truck.marks((front + 0.01, 0.6, 0.85, 0.65, 0.95, _LAMP))

    def load() -> None:
        top = height if dice.chance(0.75) else dice.uniform(1.7, 2.1)
        box = _rectangle(rear, split, 0.95, top)
        truck.sweep(box, cargo, [cargo, tint(cargo, 0.9), cargo], [1.04] * 4)
        seam = tint(cargo, 0.72)
        truck.on_end(rear - 0.01, 1.0, top - 0.1, -0.03, 0.03, seam)
        truck.on_end(rear - 0.01, 0.95, 1.1, -half, half, seam)
        for i in range(1, 4):
            at = rear + (split - rear) * i / 4
            truck.on_sides(_rectangle(at, at + 0.07, 1.0, top), 1.05, seam)
        if dice.chance(0.5):
            mid, span = 0.5 * (1.0 + top), 0.2 * (top - 1.0)
            sign = _rectangle(rear + 0.8, split - 0.8, mid - span, mid + span)
            truck.on_sides(sign, 1.05, tint(paint, 0.9))

    dark = tint(_RUBBER, 1.5)
    truck.sweep(_rectangle(rear, front, 0.5, 1.0), dark, [dark] * 3)
    # The part that is farther away is painted first.
    for part in (cab, load) if pose.cos > 0 else (load, cab):
        part()
    truck.wheels((rear + 1.0, rear + 2.1, front - 1.2), 0.48, (120, 120, 124))
    truck.marks(
        (rear - 0.02, 0.62, 0.85, 0.6, 0.97, _RED),
        (rear - 0.02, 0.0, 0.55, 0.6, 0.97, _RUBBER),
        (front + 0.02, 0.0, 0.45, 0.6, 0.97, _RUBBER),
    )


def draw_bus(canvas: Canvas, pose: Pose, paint: Color, band: Color) -> None:
    """A city bus: rows of windows, doors, a destination board and big end windows."""
    dice = canvas.dice
    length, half, height = dice.uniform(9.5, 12.5), 1.27, dice.uniform(2.95, 3.25)
    canvas.shade_below(pose, length, 2.5, height)
    rear, front = -0.5 * length, 0.5 * length
    bus = _Solid(canvas, pose, half, ids.BUS)
    _draw_coach(bus, length, height, 0.35, paint, band)
    bus.wheels((rear + 2.6, front - 2.6), 0.5, (140, 140, 145), 1.01)
    for door in (front - 1.3, 0.0):
        for leaf in (0.0, 0.55):
            shape = _rectangle(door - leaf - 0.45, door - leaf, 0.45, 2.5)
            bus.face([(*corner, half * 1.01) for corner in shape], (40, 46, 54))
    for end in (rear - 0.02, front + 0.02):
        bus.on_end(end, height - 0.5, height - 0.15, -0.75, 0.75, (22, 22, 24))
        bus.on_end(end, height - 0.42, height - 0.24, -0.5, 0.35, _AMBER)
    bus.marks(
        (rear - 0.02, 0.75, 1.2, 0.68, 0.95, _RED),
        (front + 0.02, 0.6, 0.85, 0.68, 0.95, _LAMP),
        (rear - 0.02, 0.0, 0.36, 0.68, 0.95, _RUBBER),
        (front + 0.02, 0.0, 0.36, 0.68, 0.95, _RUBBER),
    )
    bus.on_end(rear - 0.02, 0.5, 0.62, -0.3, 0.3, (220, 220, 210))


def draw_tram(canvas: Canvas, pose: Pose, paint: Color, band: Color) -> None:
    """A tram of two or three cars with skirts down to the rails, on a pantograph's wire."""
    dice = canvas.dice
    car, half, height = dice.uniform(8.0, 10.0), 1.25, dice.uniform(3.3, 3.6)
    cars = dice.integer(2, 3)
    total = cars * car
    canvas.shade_below(pose, total, 2.5, height)
    for i in range(cars) if pose.cos < 0 else range(cars - 1, -1, -1):
        x, _, z = pose.world(-0.5 * total + (i + 0.5) * car, 0.0, 0.0)
        part = Pose(x, z, pose.heading)
        coach = _Solid(canvas, part, half, ids.TRAIN)
        _draw_coach(coach, car - 0.35, height, 0.12, paint, band)
        if i == cars // 2:
            top = part.world(0, 0, height + 1.0)
            for along in (-0.9, 0.9):
                canvas.limb(part.world(along, 0, height), top, 0.08, (60, 60, 64), ids.TRAIN)
    tram = _Solid(canvas, pose, half, ids.TRAIN)
    for end, lamp in ((-0.5 * total + 0.15, _RED), (0.5 * total - 0.15, _LAMP)):
        tram.on_end(end, height - 0.45, height - 0.1, -0.6, 0.6, (25, 25, 28))
        tram.on_end(end, height - 0.36, height - 0.2, -0.4, 0.4, _AMBER)
        tram.on_end(end, 0.12, 0.35, -half, half, (50, 50, 54))
        tram.marks((end, 0.75, 0.98, 0.5, 0.8, lamp))


def _draw_coach(
    coach: _Solid, length: float, height: float, floor: float, paint: Color, band: Color
) -> None:
    """A long body with a window row, large windows at both ends and a colored band."""
    rear, front, half = -0.5 * length, 0.5 * length, coach.half
    coach.sweep(_rectangle(rear, front, floor, height), paint, [paint, tint(paint, 0.9), paint])
    skirt = floor + 0.45
    coach.on_sides(_rectangle(rear, front, floor, skirt), 1.0, band)
    glass: Color = (50, 58, 68)
    count = max(2, int(length / 1.5))
    step = length / count
    for i in range(count):
        a, b = rear + i * step + 0.1, rear + (i + 1) * step - 0.1
        pane = tint(glass, 0.8 + 0.1 * (i % 4))
        coach.on_sides(_rectangle(a, b, 1.35, height - 0.55), 1.0, pane)
    for end, base in ((rear - 0.01, 1.5), (front + 0.01, 1.15)):
        coach.on_end(end, base, height - 0.55, -0.88 * half, 0.88 * half, glass)
        coach.on_end(end, floor, skirt, -half, half, band)
