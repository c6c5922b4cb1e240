"""People on the pavement and the cycles they have parked there."""

from __future__ import annotations

import math
from functools import partial

from mixseg.data.demo.canvas import tint
from mixseg.data.demo.geometry import Pose
from mixseg.data.demo.people import Outfit, draw_bicycle, draw_motorcycle, draw_person
from mixseg.data.demo.stage import STREET, Stage
from mixseg.data.demo.street import Side
from mixseg.data.demo.vehicles import draw_shadow


def place_people(stage: Stage) -> None:
    """Puts people, parked bicycles and parked motorcycles on both pavements."""
    for side in stage.street.sides:
        _place_on_pavement(stage, side)


def _place_on_pavement(stage: Stage, side: Side) -> None:
    """People and parked cycles of one side; nobody walks along a motorway's barrier."""
    dice, canvas = stage.dice, stage.canvas
    if side.kind == "barrier":
        return
    inner, outer = side.kerb + side.verge + 0.6, side.walk - 0.4
    for _ in range(dice.integer(0, 7 if side.kind == "shops" else 4)):
        x, z = side.hand * dice.uniform(inner, outer), 6 + 28 * dice.unit() ** 2
        place_person(stage, x, z)
    if dice.chance(0.3):
        z = dice.uniform(6, 16)
        heading = dice.uniform(0.9, 2.2) * dice.sign()
        for i in range(dice.integer(2, 6)):
            pose = Pose(side.hand * (side.kerb + 0.9), z + 0.75 * i, heading)
            stage.add(
                STREET, pose.z, partial(draw_bicycle, canvas, pose, stage.colour("paint"), dice)
            )
    if dice.chance(0.2):
        z = dice.uniform(6, 14)
        heading = dice.uniform(0.5, 1.6) * dice.sign()
        for i in range(dice.integer(1, 2)):
            pose = Pose(side.hand * (side.kerb + 0.7), z + 1.1 * i, heading)
            stage.add(
                STREET,
                pose.z,
                partial(draw_motorcycle, canvas, pose, stage.colour("motorcycle"), dice),
            )


def place_person(stage: Stage, x: float, z: float) -> None:
    """Puts somebody, sometimes a child, at (x, z)."""
    dice = stage.dice
    pose = Pose(x, z, dice.uniform(0, math.tau))
    height = dice.uniform(1.1, 1.4) if dice.chance(0.12) else dice.uniform(1.55, 1.95)
    draw_shadow(stage.canvas, pose, 0.5, 0.5, height)
    stage.add(STREET, z, partial(draw_person, stage.canvas, pose, height, draw_outfit(stage), dice))


def draw_outfit(stage: Stage, coat: str = "cloth") -> Outfit:
    """Draws somebody's colours; ``coat`` is the material of the upper clothes."""
    return Outfit(
        stage.colour("skin"),
        stage.colour(coat),
        stage.colour("cloth"),
        tint(stage.colour("bark"), 0.7),
    )
