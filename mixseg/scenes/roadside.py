"""What stands along the sides of the street: buildings, boundaries, plants and furniture."""

from __future__ import annotations

from mixseg.scenes import furniture
from mixseg.scenes.buildings import Facade, draw_building, draw_closing_building
from mixseg.scenes.plants import draw_bush, draw_hedge, draw_tree
from mixseg.scenes.street import BOUNDARY, BUILT, GARDEN, STREET, Side, Stage
from mixseg.scenes.world import circle, tint

_FAR = 160.0
"""Depth in meters behind which nothing but the backdrop is drawn."""


def place_roadside(stage: Stage) -> None:
    """Put everything that stands beside the carriageway on the stage."""
    if stage.street.end is not None:
        _close_street(stage, stage.street.end)
    for side in stage.street.sides:
        _place_buildings(stage, side)
        _place_boundary(stage, side)
        _place_plants(stage, side)
        _place_furniture(stage, side)


def _close_street(stage: Stage, depth: float) -> None:
    dice = stage.dice
    bend = stage.camera.curve * depth * depth
    x = -60.0 - bend
    while x < 60.0 - bend:
        wide, height = dice.uniform(10, 22), dice.uniform(5, 18)
        facade = _draw_facade(stage, house=dice.chance(0.4))
        stage.add(BUILT, depth, draw_closing_building, x, x + wide, depth, height, facade)
        x += wide + (dice.uniform(2, 6) if dice.chance(0.3) else 0.0)


def _place_buildings(stage: Stage, side: Side) -> None:
    dice, block = stage.dice, stage.street.block
    if side.kind in ("park", "barrier") and dice.chance(0.6):
        return
    house = side.kind != "shops"
    low, high = (3.5, 8.0) if house else (7.0, 22.0)
    z = dice.uniform(1.5, 6.0)
    while z < min(_FAR, stage.street.end or _FAR):
        long = dice.uniform(8, 14) if house else dice.uniform(9, 24)
        if block and z + long > block[0] and z < block[1]:
            if block[0] - z > 5:
                long = block[0] - z
            else:
                z = block[1] + 0.5
        height, depth = dice.uniform(low, high), dice.uniform(8, 13)
        x = side.hand * (side.front + dice.uniform(0, 0.8))
        facade = _draw_facade(stage, house)
        near = z + 0.01 * side.front
        stage.add(BUILT, near, draw_building, x, depth, z, z + long, height, facade)
        z += long
        if dice.chance(0.75 if house else 0.12):
            z += dice.uniform(3, 9)


def _draw_facade(stage: Stage, house: bool) -> Facade:
    """How a building looks; a house has no shop and mostly a pitched roof."""
    dice = stage.dice
    return Facade(
        glass=stage.color("glass"),
        wall=stage.color("plaster"),
        trim=tint(stage.color("plaster"), 1.1),
        roof=stage.color("roof"),
        story=dice.uniform(2.7, 3.6),
        bay=dice.uniform(1.9, 3.6),
        opening=(dice.uniform(0.35, 0.8), dice.uniform(0.42, 0.68)),
        shop=not house and dice.chance(0.6),
        pitched=dice.chance(0.85 if house else 0.4),
        awning=stage.color("cloth"),
    )


def _place_boundary(stage: Stage, side: Side) -> None:
    if side.boundary == "none":
        return
    dice, x = stage.dice, side.hand * (side.walk - 0.05)
    spans = [(dice.uniform(2.0, 7.0), 70.0)]
    block = stage.street.block
    if block:
        spans = [(spans[0][0], block[0]), (block[1], 70.0)]
    tall = side.kind in ("barrier", "works")
    height = dice.uniform(1.6, 3.2) if tall else dice.uniform(0.9, 1.9)
    walls, metal, leaves = (stage.color(name) for name in ("masonry", "metal", "leaves"))
    courses = dice.pick(("panels", "courses", "plain"))
    slats = dice.pick(("pickets", "mesh", "rails"))
    for near, far in spans:
        if far - near < 3:
            continue
        if side.boundary == "wall":
            stage.add(BOUNDARY, near, furniture.draw_wall, x, near, far, height, walls, courses)
        elif side.boundary == "fence":
            stage.add(BOUNDARY, near, furniture.draw_fence, x, near, far, height, metal, slats)
        else:
            stage.add(BOUNDARY, near, draw_hedge, x, near, far, height, leaves)


def _place_plants(stage: Stage, side: Side) -> None:
    dice, hand = stage.dice, side.hand
    behind = {"park": (6, 12), "gardens": (1, 5), "barrier": (0, 7), "works": (0, 4)}
    low, high = behind.get(side.kind, (0, 0))
    for _ in range(dice.integer(low, high)):
        z = dice.uniform(6, 75)
        x = hand * (side.walk + dice.uniform(1.5, 4 + 0.3 * z))
        _place_tree(stage, GARDEN, x, z, dice.uniform(4, 12))
    for _ in range(dice.integer(low // 2, high // 2)):
        x, z = hand * (side.walk + dice.uniform(0.8, 5)), dice.uniform(5, 40)
        size = dice.uniform(0.5, 1.3)
        stage.add(GARDEN, z, draw_bush, x, z, size, dice.pick(stage.leaves))
    if side.kind != "barrier" and dice.chance(0.6):
        spacing, z = dice.uniform(7, 16), dice.uniform(6, 14)
        x = hand * (side.curb + 0.8 + 0.3 * side.verge)
        height = dice.uniform(4.5, 9)
        while z < 70:
            if not stage.crossed(z):
                _place_tree(stage, STREET, x, z, height * dice.uniform(0.8, 1.2))
            z += spacing


def _place_tree(stage: Stage, layer: int, x: float, z: float, height: float) -> None:
    """A tree and its shadow at (x, z)."""
    dice = stage.dice
    if not stage.camera.sees(x, z, 0.6 * height):
        return
    species = dice.pick(("round", "round", "round", "column", "conifer"))
    leaves = tint(dice.pick(stage.leaves), dice.uniform(0.8, 1.2))
    stage.add(layer, z, draw_tree, x, z, height, species, leaves, stage.color("bark"))
    side = 0.22 * height
    shift = -0.4 * height * stage.style.sun[0]
    outline = [(x + shift + side * cos, 0.0, z + side * sin) for cos, sin in circle(8)]
    stage.canvas.shade_ground(outline, 0.6)


def _place_furniture(stage: Stage, side: Side) -> None:
    dice, hand, metal = stage.dice, side.hand, stage.metal
    x = hand * (side.curb + 0.45)
    if dice.chance(0.75):
        z, spacing = dice.uniform(7, 18), dice.uniform(14, 28)
        while z < 80:
            stage.add(STREET, z, furniture.draw_lamp, x, z, metal)
            z += spacing
    for _ in range(dice.integer(0, 3)):
        z = dice.uniform(6, 30)
        stage.add(STREET, z, furniture.draw_sign, x, z, metal)
    if dice.chance(0.4):
        z, spacing = dice.uniform(5, 9), dice.uniform(1.6, 3.0)
        for _ in range(dice.integer(3, 8)):
            if not stage.crossed(z):
                stage.add(STREET, z, furniture.draw_pole, x, z, 1.0, metal)
            z += spacing
    crossing = stage.street.crossing
    if crossing or dice.chance(0.3):
        z = crossing[0] - 1.5 if crossing else dice.uniform(9, 22)
        overhead = -hand * dice.uniform(2.0, 4.0) if dice.chance(0.4) else 0.0
        stage.add(STREET, z, furniture.draw_traffic_light, x, z, metal, overhead)
        if crossing:
            z = crossing[1] + 1.5
            stage.add(STREET, z, furniture.draw_traffic_light, x, z, metal)
    if dice.chance(0.2):
        z = dice.uniform(6, 18)
        spot = hand * (side.curb + dice.uniform(0.7, 1.6))
        stage.add(STREET, z, furniture.draw_clutter, spot, z, stage.color("metal"))
    if hand > 0 and stage.street.layout == "highway" and dice.chance(0.6):
        left, z = -stage.street.sides[0].curb, dice.uniform(20, 40)
        stage.add(STREET, z, furniture.draw_gantry, left, side.curb, z, metal)
