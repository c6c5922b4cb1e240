"""Who is on the street: vehicles on the carriageway, people and parked cycles on the sidewalks."""

from __future__ import annotations

import math
from collections.abc import Callable

from mixseg.scenes.people import Outfit, draw_bicycle, draw_motorcycle, draw_person
from mixseg.scenes.street import STREET, Side, Span, Stage
from mixseg.scenes.vehicles import draw_bus, draw_car, draw_tram, draw_truck
from mixseg.scenes.world import Pose, tint

_VEHICLES: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "car": (draw_car, ("paint",)),
    "truck": (draw_truck, ("truck", "cargo")),
    "bus": (draw_bus, ("bus", "band")),
    "tram": (draw_tram, ("tram", "band")),
    "cyclist": (draw_bicycle, ("paint",)),
    "motorcyclist": (draw_motorcycle, ("motorcycle",)),
}
"""Kind -> what draws it, and the materials of its colors."""


def place_people(stage: Stage) -> None:
    """Put people, parked bicycles and parked motorcycles on both sidewalks."""
    dice = stage.dice
    for side in stage.street.sides:
        if side.kind == "barrier":  # nobody walks along a highway
            continue
        inner, outer = side.curb + side.verge + 0.6, side.walk - 0.4
        for _ in range(dice.integer(0, 7 if side.kind == "shops" else 4)):
            x, z = side.hand * dice.uniform(inner, outer), 6 + 28 * dice.unit() ** 2
            place_person(stage, x, z)
        if dice.chance(0.3):
            z, heading = dice.uniform(6, 16), dice.uniform(0.9, 2.2) * dice.sign()
            for i in range(dice.integer(2, 6)):
                pose = Pose(side.hand * (side.curb + 0.9), z + 0.75 * i, heading)
                stage.add(STREET, pose.z, draw_bicycle, pose, stage.color("paint"))
        if dice.chance(0.2):
            z, heading = dice.uniform(6, 14), dice.uniform(0.5, 1.6) * dice.sign()
            for i in range(dice.integer(1, 2)):
                pose = Pose(side.hand * (side.curb + 0.7), z + 1.1 * i, heading)
                stage.add(STREET, pose.z, draw_motorcycle, pose, stage.color("motorcycle"))


def place_person(stage: Stage, x: float, z: float) -> None:
    """Put somebody, sometimes a child, at (x, z)."""
    dice = stage.dice
    pose = Pose(x, z, dice.uniform(0, math.tau))
    height = dice.uniform(1.1, 1.4) if dice.chance(0.12) else dice.uniform(1.55, 1.95)
    stage.canvas.shade_below(pose, 0.5, 0.5, height)
    stage.add(STREET, z, draw_person, pose, height, _draw_outfit(stage, "cloth"))


def _draw_outfit(stage: Stage, coat: str) -> Outfit:
    """Somebody's colors; ``coat`` is the material of the upper clothes."""
    skin, top, legs, hair = (stage.color(name) for name in ("skin", coat, "cloth", "bark"))
    return Outfit(skin, top, legs, tint(hair, 0.7))


def place_traffic(stage: Stage) -> None:
    """Put everything that drives, parks or crosses on the carriageway."""
    street, dice = stage.street, stage.dice
    if street.rails is not None:
        pose = Pose(street.rails, dice.uniform(22, 36), 0.0 if dice.chance(0.5) else math.pi)
        _place_vehicle(stage, "tram", pose)
    shares = {"bus": 0.28, "truck": 0.26, "motorcyclist": 0.28, "cyclist": 0.34}
    wanted = [kind for kind, share in shares.items() if dice.chance(share)]
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
    z, dice = stage.dice.uniform(5, 9), stage.dice
    filled = dice.uniform(0.4, 0.95)
    while z < 60:
        if dice.chance(filled) and not stage.crossed(z):
            heading = (0.0 if side.hand > 0 else math.pi) + dice.uniform(-0.05, 0.05)
            kind = "truck" if dice.chance(0.03) else "car"
            x = side.hand * (side.curb - 0.5 * side.parking)
            _place_vehicle(stage, kind, Pose(x, z, heading))
        z += dice.uniform(5.3, 6.5)


def _place_crossing_traffic(stage: Stage, crossing: Span) -> None:
    """Vehicles and people seen from the side on the crossing street."""
    dice, (near, far) = stage.dice, crossing
    kinds = {"car": 5.0, "cyclist": 1.5, "motorcyclist": 1.0, "bus": 0.7, "truck": 0.8}
    for share, heading in ((0.28, math.pi / 2), (0.75, -math.pi / 2)):
        z = near + share * (far - near)
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
    if not stage.camera.sees(pose.x, pose.z, 16.0 if kind == "tram" else 7.0):
        return
    draw, materials = _VEHICLES[kind]
    arguments: list[object] = [pose, *(stage.color(name) for name in materials)]
    if kind in ("cyclist", "motorcyclist"):
        length, width = (1.6, 0.4) if kind == "cyclist" else (1.9, 0.6)
        stage.canvas.shade_below(pose, length, width, 1.4)
        arguments.append(_draw_outfit(stage, "vest"))
    # Long vehicles hide what stands beside their middle, so their near end counts.
    reach = {"tram": 10.0, "bus": 5.0, "truck": 4.0}.get(kind, 0.0)
    stage.add(STREET, pose.z - reach * abs(pose.cos), draw, *arguments)
