"""What lies on the ground: pavements, carriageway, markings, the crossing and the skyline."""

from __future__ import annotations

from mixseg.data.demo import labels as ids
from mixseg.data.demo.canvas import Colour, tint
from mixseg.data.demo.geometry import Pixel
from mixseg.data.demo.stage import Stage
from mixseg.data.demo.street import LANE, PAVEMENT


def paint_backdrop(stage: Stage) -> None:
    """A distant tree line or roof line that hides where ground and sky meet."""
    dice, camera = stage.dice, stage.camera
    trees = dice.chance(0.6)
    colour = dice.pick(stage.leaves) if trees else stage.colour("plaster")
    label = ids.VEGETATION if trees else ids.BUILDING
    step = camera.width / (28 if trees else 16)
    outline: list[Pixel] = [(-1.0, camera.horizon + 2)]
    rise = dice.uniform(0.02, 0.07) * camera.height
    column = -step
    while column < camera.width + step:
        top = camera.horizon - rise * dice.uniform(0.4, 1.4)
        outline.append((column, top))
        column += step * dice.uniform(0.5, 1.5)
        if not trees:
            outline.append((column, top))
    outline.append((camera.width + step, camera.horizon + 2))
    stage.canvas.fill(outline, tint(colour, 0.8), label, 90.0)


def paint_ground(stage: Stage) -> None:
    """Paints gardens, pavements, carriageway, crossing and markings."""
    street, dice = stage.street, stage.dice
    asphalt, paving = stage.colour("asphalt"), stage.colour("paving")
    grass = stage.colour("grass")
    lit = stage.canvas.light((0.0, 1.0, 0.0))
    asphalt, paving, grass = (tint(c, lit) for c in (asphalt, paving, grass))
    kerb = tint(paving, dice.uniform(1.1, 1.3))
    for side in street.sides:
        hand = side.hand
        paved = side.kind == "shops" or (side.kind == "works" and dice.chance(0.5))
        yard, label = (paving, ids.SIDEWALK) if paved else (grass, ids.TERRAIN)
        _paint_strip(stage, 0.0, hand * 900.0, yard, label)
        _paint_strip(stage, 0.0, hand * side.walk, paving, ids.SIDEWALK)
        if side.verge:
            _paint_strip(stage, 0.0, hand * (side.kerb + 0.2 + side.verge), grass, ids.TERRAIN)
        _paint_strip(stage, 0.0, hand * (side.kerb + 0.2), kerb, ids.SIDEWALK)
        _paint_strip(stage, 0.0, hand * side.kerb, asphalt, ids.ROAD)
        if side.parking:
            bay = tint(asphalt, dice.uniform(0.85, 1.15))
            _paint_strip(stage, hand * side.kerb, hand * (side.kerb - side.parking), bay, ids.ROAD)
    white: Colour = dice.pick(((225, 225, 220), (200, 200, 195), (225, 190, 70)))
    if stage.style.look == "render" and dice.chance(0.5):
        white = (240, 190, 50)
    _paint_markings(stage, asphalt, white)
    if street.rails is not None:
        bed = tint(asphalt, dice.uniform(0.85, 1.2))
        _paint_strip(stage, street.rails - 1.3, street.rails + 1.3, bed, ids.ROAD, far=120)
        for rail in (-0.72, 0.72):
            x = street.rails + rail
            _paint_strip(stage, x - 0.06, x + 0.06, tint(bed, 0.55), ids.ROAD, far=90)
    if street.crossing is not None:
        _paint_crossing(stage, street.crossing, asphalt, paving, white)
    _shade_by_buildings(stage)


def _paint_strip(
    stage: Stage,
    x0: float,
    x1: float,
    colour: Colour,
    label: int,
    near: float = 0.0,
    far: float = 1500.0,
) -> None:
    """Paints the ground from x0 to x1 along the street."""
    near = max(near, 0.7 * stage.camera.first_ground)
    if far <= near:
        return
    project, steps = stage.camera.project, 12
    depths = [1 / (1 / near + (1 / far - 1 / near) * i / steps) for i in range(steps + 1)]
    if stage.camera.curve:
        # Far out the parabola of the bend leaves every street; it is followed for 250 m.
        depths = [min(z, 250.0) for z in depths]
    outline = [project(x0, 0.0, z) for z in depths]
    outline += [project(x1, 0.0, z) for z in reversed(depths)]
    stage.canvas.ground(outline, colour, label)


def _paint_patch(
    stage: Stage, x0: float, x1: float, z0: float, z1: float, colour: Colour, label: int
) -> None:
    """Paints a short rectangle of the ground."""
    z0 = max(z0, 0.7 * stage.camera.first_ground)
    if z1 <= z0:
        return
    p = stage.camera.project
    stage.canvas.ground((p(x0, 0, z0), p(x0, 0, z1), p(x1, 0, z1), p(x1, 0, z0)), colour, label)


def _paint_markings(stage: Stage, asphalt: Colour, white: Colour) -> None:
    """Paints lane lines, edge lines, and patches and manholes of the asphalt."""
    dice, street = stage.dice, stage.street
    for _ in range(dice.integer(0, 3)):
        x, z = dice.uniform(-4, 3), dice.uniform(5, 25)
        wide, long = dice.uniform(0.5, 2.5), dice.uniform(1, 7)
        repair = tint(asphalt, dice.uniform(0.78, 1.16))
        _paint_patch(stage, x, x + wide, z, z + long, repair, ids.ROAD)
    if dice.chance(0.12):
        return
    borders = sorted({round(x + s * LANE / 2, 2) for x, _ in street.lanes for s in (-1, 1)})
    for x in borders:
        if x in (borders[0], borders[-1]) and dice.chance(0.5):
            _paint_strip(stage, x - 0.07, x + 0.07, white, ids.ROAD, far=90)
        else:
            z = dice.uniform(2, 6)
            while z < 60:
                _paint_patch(stage, x - 0.07, x + 0.07, z, z + 3, white, ids.ROAD)
                z += 7.5


def _paint_crossing(
    stage: Stage,
    crossing: tuple[float, float],
    asphalt: Colour,
    paving: Colour,
    white: Colour,
) -> None:
    """Paints the carriageway that crosses, its pavements, a stop line and a zebra."""
    near, far = crossing
    left, right = stage.street.sides
    for side in (left, right):
        x0, x1 = side.hand * side.kerb, side.hand * 300
        _paint_patch(
            stage, min(x0, x1), max(x0, x1), near - PAVEMENT, far + PAVEMENT, paving, ids.SIDEWALK
        )
    _paint_patch(stage, -300, 300, near, far, asphalt, ids.ROAD)
    lane_left, lane_right = -left.kerb, right.kerb
    if stage.dice.chance(0.7):
        x = lane_left + 0.3
        while x < lane_right - 0.5:
            _paint_patch(stage, x, x + 0.5, near - 3.6, near - 0.6, white, ids.ROAD)
            x += 1.05
    _paint_patch(stage, -LANE / 2, lane_right, near - 5, near - 4.5, white, ids.ROAD)


def _shade_by_buildings(stage: Stage) -> None:
    """The shadow that the houses on the sun's side throw onto the ground."""
    sun = stage.style.sun
    left, right = stage.street.sides
    side = right if sun[0] > 0 else left
    if side.kind not in ("shops", "gardens") or stage.dice.chance(0.3):
        return
    reach = side.front - stage.dice.uniform(0.2, 1.1) * side.front
    z = 2.0
    while z < 70:
        long = stage.dice.uniform(6, 20)
        edge = reach * stage.dice.uniform(0.6, 1.2)
        stage.canvas.shade_ground(
            [
                (side.hand * 60, 0, z),
                (side.hand * edge, 0, z),
                (side.hand * edge, 0, z + long),
                (side.hand * 60, 0, z + long),
            ],
            0.8,
        )
        z += long * stage.dice.uniform(1.0, 1.3)
