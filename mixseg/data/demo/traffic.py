"""What drives, parks or crosses on the carriageway."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from mixseg.data.demo.geometry import Pose
from mixseg.data.demo.pedestrians import draw_outfit, place_person
from mixseg.data.demo.people import draw_bicycle, draw_motorcycle
from mixseg.data.demo.stage import STREET, Stage
from mixseg.data.demo.street import Side
from mixseg.data.demo.vehicles import draw_bus, draw_car, draw_shadow, draw_tram, draw_truck


def place_traffic(stage: Stage) -> None:
    """Everything that drives, parks or crosses the carriageway."""
    street, dice = stage.street, stage.dice
    if street.rails is not None:
        pose = Pose(street.rails, dice.uniform(22, 36), 0.0 if dice.chance(0.5) else math.pi)
        _place_vehicle(stage, "tram", pose)
    wanted = [
        kind
        for kind, share in (
            ("bus", 0.28),
            ("truck", 0.26),
            ("motorcyclist", 0.28),
            ("cyclist", 0.34),
        )
        if dice.chance(share)
    ]
    free: list[tuple[float, bool, float]] = []
    for x, oncoming in street.lanes:
        z = dice.uniform(9, 18) if x else dice.uniform(12, 20)
        while z < 80:
            if not stage.crossed(z):
                free.append((x, oncoming, z))
            z += dice.uniform(9, 20)
    free.sort(key=lambda slot: slot[2])
    for kind in wanted:
        if not free:
            break
        x, oncoming, z = free.pop(dice.integer(0, min(2, len(free) - 1)))
        heading = math.pi if oncoming else 0.0
        if kind in ("cyclist", "motorcyclist"):
            x += dice.uniform(0.2, 1.1)
            z = dice.uniform(7, 14)
            # Seen straight from behind, a bicycle is hardly more than a line.
            heading += dice.uniform(-0.5, 0.5)
        else:
            # The slot is its near end; a long vehicle takes the next slot of its lane too.
            z += 5.0
            free = [s for s in free if s[0] != x or not z - 9 < s[2] < z + 10]
        _place_vehicle(stage, kind, Pose(x, z, heading + dice.uniform(-0.06, 0.06)))
    busy = dice.uniform(0.15, 0.8)
    for x, oncoming, z in free:
        if dice.chance(busy):
            heading = (math.pi if oncoming else 0.0) + dice.uniform(-0.08, 0.08)
            _place_vehicle(stage, "car", Pose(x + dice.uniform(-0.3, 0.3), z, heading))
    for side in street.sides:
        if side.parking:
            _place_parked(stage, side)
    if street.crossing:
        _place_crossing_traffic(stage, street.crossing)
    if dice.chance(0.15):
        place_person(stage, dice.uniform(-3, 3), dice.uniform(8, 20))


def _place_parked(stage: Stage, side: Side) -> None:
    """The row of parked cars on one side."""
    z, dice = stage.dice.uniform(5, 9), stage.dice
    filled = dice.uniform(0.4, 0.95)
    while z < 60:
        if dice.chance(filled) and not stage.crossed(z):
            heading = (0.0 if side.hand > 0 else math.pi) + dice.uniform(-0.05, 0.05)
            kind = "truck" if dice.chance(0.03) else "car"
            x = side.hand * (side.kerb - 0.5 * side.parking)
            _place_vehicle(stage, kind, Pose(x, z, heading))
        z += dice.uniform(5.3, 6.5)


def _place_crossing_traffic(stage: Stage, crossing: tuple[float, float]) -> None:
    """Vehicles and people seen from the side on the crossing street."""
    dice, (near, far) = stage.dice, crossing
    kinds = {"car": 5.0, "cyclist": 1.5, "motorcyclist": 1.0, "bus": 0.7, "truck": 0.8}
    for z, heading in (
        (near + 0.28 * (far - near), math.pi / 2),
        (near + 0.75 * (far - near), -math.pi / 2),
    ):
        x = dice.uniform(-14, -4)
        while x < 16:
            on_rails = stage.street.rails is not None and abs(x - stage.street.rails) < 9.0
            if dice.chance(0.45) and not on_rails:
                kind = dice.weighted(kinds)
                _place_vehicle(stage, kind, Pose(x, z, heading + dice.uniform(-0.1, 0.1)))
            x += dice.uniform(9, 13)
    for _ in range(dice.integer(0, 4)):
        place_person(stage, dice.uniform(-6, 6), near - dice.uniform(0.5, 3.5))


def _place_vehicle(stage: Stage, kind: str, pose: Pose) -> None:
    """Puts a car, truck, bus, tram, cyclist or motorcyclist on the street."""
    canvas, dice = stage.canvas, stage.dice
    if not stage.camera.sees(pose.x, pose.z, 16.0 if kind == "tram" else 7.0):
        return
    paint: Callable[[], None]
    if kind == "car":
        paint = partial(draw_car, canvas, pose, stage.colour("paint"), dice)
    elif kind == "truck":
        paint = partial(
            draw_truck, canvas, pose, stage.colour("lorry"), stage.colour("cargo"), dice
        )
    elif kind == "bus":
        paint = partial(draw_bus, canvas, pose, stage.colour("bus"), stage.colour("band"), dice)
    elif kind == "tram":
        paint = partial(draw_tram, canvas, pose, stage.colour("tram"), stage.colour("band"), dice)
    elif kind == "cyclist":
        draw_shadow(canvas, pose, 1.6, 0.4, 1.4)
        paint = partial(
            draw_bicycle, canvas, pose, stage.colour("paint"), dice, draw_outfit(stage, "vest")
        )
    else:
        draw_shadow(canvas, pose, 1.9, 0.6, 1.4)
        paint = partial(
            draw_motorcycle,
            canvas,
            pose,
            stage.colour("motorcycle"),
            dice,
            draw_outfit(stage, "vest"),
        )
    # Long vehicles hide what stands beside their middle, so their near end counts.
    reach = {"tram": 10.0, "bus": 5.0, "truck": 4.0}.get(kind, 0.0)
    stage.add(STREET, pose.z - reach * abs(pose.cos), paint)
