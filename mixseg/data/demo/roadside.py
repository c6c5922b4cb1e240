"""What stands along the sides of the street: buildings, boundaries, plants and furniture."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from mixseg.data.demo.buildings import Facade, draw_building, draw_closing_building
from mixseg.data.demo.canvas import tint
from mixseg.data.demo.furniture import (
    draw_clutter,
    draw_fence,
    draw_gantry,
    draw_lamp,
    draw_pole,
    draw_sign,
    draw_traffic_light,
    draw_wall,
)
from mixseg.data.demo.plants import draw_bush, draw_hedge, draw_tree
from mixseg.data.demo.stage import BOUNDARY, BUILT, GARDEN, STREET, Stage
from mixseg.data.demo.street import PAVEMENT, Side

_FAR = 160.0
"""Depth in metres behind which nothing but the backdrop is drawn."""


def place_roadside(stage: Stage) -> None:
    """Puts everything that stands beside the carriageway on the stage."""
    if stage.street.end is not None:
        _close_street(stage, stage.street.end)
    for side in stage.street.sides:
        _place_buildings(stage, side)
        _place_boundary(stage, side)
        _place_plants(stage, side)
        _place_furniture(stage, side)


def _place_buildings(stage: Stage, side: Side) -> None:
    """Buildings along one side."""
    dice, street = stage.dice, stage.street
    if side.kind in ("park", "barrier") and dice.chance(0.6):
        return
    house = side.kind != "shops"
    crossing = street.crossing
    low, high = (3.5, 8.0) if house else (7.0, 22.0)
    z = dice.uniform(1.5, 6.0)
    while z < min(_FAR, street.end or _FAR):
        long = dice.uniform(8, 14) if house else dice.uniform(9, 24)
        if crossing and z + long > crossing[0] - PAVEMENT and z < crossing[1] + PAVEMENT:
            if crossing[0] - PAVEMENT - z > 5:
                long = crossing[0] - PAVEMENT - z
            else:
                z = crossing[1] + PAVEMENT + 0.5
        height, depth = dice.uniform(low, high), dice.uniform(8, 13)
        stage.add(
            BUILT,
            z + 0.01 * side.front,
            partial(
                draw_building,
                stage.canvas,
                side.hand * (side.front + dice.uniform(0, 0.8)),
                depth,
                z,
                z + long,
                height,
                _draw_facade(stage, house),
                dice,
            ),
        )
        z += long
        if dice.chance(0.75 if house else 0.12):
            z += dice.uniform(3, 9)


def _draw_facade(stage: Stage, house: bool) -> Facade:
    """Draws how a building looks; a house has no shop and mostly a pitched roof."""
    dice = stage.dice
    glass = stage.colour("glass")
    return Facade(
        wall=stage.colour("plaster"),
        trim=tint(stage.colour("plaster"), 1.1),
        glass=glass,
        roof=stage.colour("roof"),
        storey=dice.uniform(2.7, 3.6),
        bay=dice.uniform(1.9, 3.6),
        opening=(dice.uniform(0.35, 0.8), dice.uniform(0.42, 0.68)),
        shop=not house and dice.chance(0.6),
        pitched=dice.chance(0.85 if house else 0.4),
        awning=stage.colour("cloth"),
    )


def _close_street(stage: Stage, depth: float) -> None:
    """Buildings across the end of the street."""
    dice = stage.dice
    bend = stage.camera.curve * depth * depth
    x = -60.0 - bend
    while x < 60.0 - bend:
        wide = dice.uniform(10, 22)
        height = dice.uniform(5, 18)
        stage.add(
            BUILT,
            depth,
            partial(
                draw_closing_building,
                stage.canvas,
                x,
                x + wide,
                depth,
                height,
                _draw_facade(stage, dice.chance(0.4)),
                dice,
            ),
        )
        x += wide + (dice.uniform(2, 6) if dice.chance(0.3) else 0.0)


def _place_boundary(stage: Stage, side: Side) -> None:
    """A wall, fence or hedge in front of the gardens."""
    if side.boundary == "none":
        return
    dice, x = stage.dice, side.hand * (side.walk - 0.05)
    spans = [(dice.uniform(2.0, 7.0), 70.0)]
    crossing = stage.street.crossing
    if crossing:
        spans = [(spans[0][0], crossing[0] - PAVEMENT), (crossing[1] + PAVEMENT, 70.0)]
    tall = side.kind in ("barrier", "works")
    height = dice.uniform(1.6, 3.2) if tall else dice.uniform(0.9, 1.9)
    walls, metal = stage.colour("masonry"), stage.colour("metal")
    leaves = stage.colour("leaves")
    courses = dice.pick(("panels", "courses", "plain"))
    slats = dice.pick(("pickets", "mesh", "rails"))
    for near, far in spans:
        if far - near < 3:
            continue
        paint: Callable[[], None]
        if side.boundary == "wall":
            paint = partial(draw_wall, stage.canvas, x, near, far, height, walls, courses)
        elif side.boundary == "fence":
            paint = partial(draw_fence, stage.canvas, x, near, far, height, metal, slats)
        else:
            paint = partial(draw_hedge, stage.canvas, x, near, far, height, leaves, dice)
        stage.add(BOUNDARY, near, paint)


def _place_plants(stage: Stage, side: Side) -> None:
    """Street trees, garden trees, woods and bushes."""
    dice, hand = stage.dice, side.hand
    behind = {"park": (6, 12), "gardens": (1, 5), "barrier": (0, 7), "works": (0, 4)}
    low, high = behind.get(side.kind, (0, 0))
    for _ in range(dice.integer(low, high)):
        z = dice.uniform(6, 75)
        x = hand * (side.walk + dice.uniform(1.5, 4 + 0.3 * z))
        _place_tree(stage, GARDEN, x, z, dice.uniform(4, 12))
    for _ in range(dice.integer(low // 2, high // 2)):
        x, z = hand * (side.walk + dice.uniform(0.8, 5)), dice.uniform(5, 40)
        paint = partial(
            draw_bush, stage.canvas, x, z, dice.uniform(0.5, 1.3), dice.pick(stage.leaves), dice
        )
        stage.add(GARDEN, z, paint)
    if side.kind != "barrier" and dice.chance(0.6):
        spacing, z = dice.uniform(7, 16), dice.uniform(6, 14)
        x = hand * (side.kerb + 0.8 + 0.3 * side.verge)
        height = dice.uniform(4.5, 9)
        while z < 70:
            if not stage.crossed(z):
                _place_tree(stage, STREET, x, z, height * dice.uniform(0.8, 1.2))
            z += spacing


def _place_tree(stage: Stage, layer: int, x: float, z: float, height: float) -> None:
    """Puts a tree and its shadow at (x, z)."""
    dice = stage.dice
    if not stage.camera.sees(x, z, 0.6 * height):
        return
    species = dice.pick(("round", "round", "round", "column", "conifer"))
    leaves = tint(dice.pick(stage.leaves), dice.uniform(0.8, 1.2))
    stage.add(
        layer,
        z,
        partial(draw_tree, stage.canvas, x, z, height, species, leaves, stage.colour("bark"), dice),
    )
    side = 0.22 * height
    shift = -0.4 * height * stage.style.sun[0]
    points = [
        (x + shift + side * math.cos(math.tau * i / 8), 0.0, z + side * math.sin(math.tau * i / 8))
        for i in range(8)
    ]
    stage.canvas.shade_ground(points, 0.6)


def _place_furniture(stage: Stage, side: Side) -> None:
    """Lamps, poles, signs, traffic lights and clutter at the kerb."""
    dice, canvas, hand = stage.dice, stage.canvas, side.hand
    x = hand * (side.kerb + 0.45)
    if dice.chance(0.75):
        z, spacing = dice.uniform(7, 18), dice.uniform(14, 28)
        while z < 80:
            stage.add(STREET, z, partial(draw_lamp, canvas, x, z, stage.metal, dice))
            z += spacing
    for _ in range(dice.integer(0, 3)):
        z = dice.uniform(6, 30)
        stage.add(STREET, z, partial(draw_sign, canvas, x, z, stage.metal, dice))
    if dice.chance(0.4):
        z, spacing = dice.uniform(5, 9), dice.uniform(1.6, 3.0)
        for _ in range(dice.integer(3, 8)):
            if not stage.crossed(z):
                stage.add(STREET, z, partial(draw_pole, canvas, x, z, 1.0, stage.metal))
            z += spacing
    crossing = stage.street.crossing
    if crossing or dice.chance(0.3):
        z = crossing[0] - 1.5 if crossing else dice.uniform(9, 22)
        over = -hand * dice.uniform(2.0, 4.0) if dice.chance(0.4) else 0.0
        light = partial(draw_traffic_light, canvas, x, z, stage.metal, dice, overhead=over)
        stage.add(STREET, z, light)
        if crossing:
            z = crossing[1] + 1.5
            stage.add(STREET, z, partial(draw_traffic_light, canvas, x, z, stage.metal, dice))
    if dice.chance(0.2):
        z = dice.uniform(6, 18)
        spot = hand * (side.kerb + dice.uniform(0.7, 1.6))
        stage.add(STREET, z, partial(draw_clutter, canvas, spot, z, stage.colour("metal"), dice))
    if side.hand > 0 and stage.street.layout == "highway" and dice.chance(0.6):
        left = stage.street.sides[0].kerb
        z = dice.uniform(20, 40)
        stage.add(STREET, z, partial(draw_gantry, canvas, -left, side.kerb, z, stage.metal, dice))
