"""What lies on the ground: sidewalks, carriageway, markings, the crossing and the skyline."""

from __future__ import annotations

from mixseg.scenes import labels as ids
from mixseg.scenes.street import LANE, Span, Stage
from mixseg.scenes.world import Color, Pixel, tint


def paint_backdrop(stage: Stage) -> None:
    """A distant tree line or roof line that hides where ground and sky meet."""
    dice, camera = stage.dice, stage.camera
    trees = dice.chance(0.6)
    color = dice.pick(stage.leaves) if trees else stage.color("plaster")
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
    stage.canvas.fill(outline, tint(color, 0.8), label, 90.0)


def paint_ground(stage: Stage) -> None:
    """Paint gardens, sidewalks, carriageway, crossing and markings."""
    street, dice = stage.street, stage.dice
    lit = stage.canvas.light((0.0, 1.0, 0.0))
    names = ("asphalt", "paving", "grass")
    asphalt, paving, grass = (tint(stage.color(name), lit) for name in names)
    curb = tint(paving, dice.uniform(1.1, 1.3))
    for side in street.sides:
        hand = side.hand
        paved = side.kind == "shops" or (side.kind == "works" and dice.chance(0.5))
        yard, label = (paving, ids.SIDEWALK) if paved else (grass, ids.TERRAIN)
        _paint_strip(stage, 0.0, hand * 900.0, yard, label)
        _paint_strip(stage, 0.0, hand * side.walk, paving, ids.SIDEWALK)
        if side.verge:
            _paint_strip(stage, 0.0, hand * (side.curb + 0.2 + side.verge), grass, ids.TERRAIN)
        _paint_strip(stage, 0.0, hand * (side.curb + 0.2), curb, ids.SIDEWALK)
        _paint_strip(stage, 0.0, hand * side.curb, asphalt)
        if side.parking:
            bay = tint(asphalt, dice.uniform(0.85, 1.15))
            _paint_strip(stage, hand * side.curb, hand * (side.curb - side.parking), bay)
    white: Color = dice.pick(((225, 225, 220), (200, 200, 195), (225, 190, 70)))
    if stage.style.look == "render" and dice.chance(0.5):
        white = (240, 190, 50)
    _paint_markings(stage, asphalt, white)
    if street.rails is not None:
        bed = tint(asphalt, dice.uniform(0.85, 1.2))
        _paint_strip(stage, street.rails - 1.3, street.rails + 1.3, bed, far=120)
        for rail in (-0.72, 0.72):
            x = street.rails + rail
            _paint_strip(stage, x - 0.06, x + 0.06, tint(bed, 0.55), far=90)
    if street.crossing and street.block:
        _paint_crossing(stage, street.crossing, street.block, asphalt, paving, white)
    _shade_by_buildings(stage)


def _paint_strip(
    stage: Stage, x0: float, x1: float, color: Color, label: int = ids.ROAD, far: float = 1500.0
) -> None:
    """The ground from x0 to x1 along the street."""
    near, steps = 0.7 * stage.camera.first_ground, 12
    if far <= near:
        return
    depths = [1 / (1 / near + (1 / far - 1 / near) * i / steps) for i in range(steps + 1)]
    if stage.camera.curve:
        # Far out the parabola of the bend leaves every street; it is followed for 250 m.
        depths = [min(z, 250.0) for z in depths]
    project = stage.camera.project
    outline = [project(x0, 0.0, z) for z in depths]
    outline += [project(x1, 0.0, z) for z in reversed(depths)]
    stage.canvas.fill(outline, color, label)


def _paint_patch(
    stage: Stage, x0: float, x1: float, z0: float, z1: float, color: Color, label: int = ids.ROAD
) -> None:
    """A short rectangle of the ground."""
    z0 = max(z0, 0.7 * stage.camera.first_ground)
    if z1 > z0:
        corners = ((x0, z0), (x0, z1), (x1, z1), (x1, z0))
        stage.canvas.fill([stage.camera.project(x, 0, z) for x, z in corners], color, label)


def _paint_markings(stage: Stage, asphalt: Color, white: Color) -> None:
    dice = stage.dice
    for _ in range(dice.integer(0, 3)):
        x, z = dice.uniform(-4, 3), dice.uniform(5, 25)
        wide, long = dice.uniform(0.5, 2.5), dice.uniform(1, 7)
        _paint_patch(stage, x, x + wide, z, z + long, tint(asphalt, dice.uniform(0.78, 1.16)))
    if dice.chance(0.12):
        return
    borders = sorted({round(x + s * LANE / 2, 2) for x, _ in stage.street.lanes for s in (-1, 1)})
    for x in borders:
        if x in (borders[0], borders[-1]) and dice.chance(0.5):
            _paint_strip(stage, x - 0.07, x + 0.07, white, far=90)
            continue
        z = dice.uniform(2, 6)
        while z < 60:
            _paint_patch(stage, x - 0.07, x + 0.07, z, z + 3, white)
            z += 7.5


def _paint_crossing(
    stage: Stage, crossing: Span, block: Span, asphalt: Color, paving: Color, white: Color
) -> None:
    """The carriageway that crosses, its sidewalks, a stop line and a zebra."""
    (near, far), (begin, end) = crossing, block
    left, right = stage.street.sides
    _paint_patch(stage, -300, -left.curb, begin, end, paving, ids.SIDEWALK)
    _paint_patch(stage, right.curb, 300, begin, end, paving, ids.SIDEWALK)
    _paint_patch(stage, -300, 300, near, far, asphalt)
    if stage.dice.chance(0.7):
        x = -left.curb + 0.3
        while x < right.curb - 0.5:
            _paint_patch(stage, x, x + 0.5, near - 3.6, near - 0.6, white)
            x += 1.05
    _paint_patch(stage, -LANE / 2, right.curb, near - 5, near - 4.5, white)


def _shade_by_buildings(stage: Stage) -> None:
    """The shadow that the houses on the sun's side throw onto the ground."""
    dice, (left, right) = stage.dice, stage.street.sides
    side = right if stage.style.sun[0] > 0 else left
    if side.kind not in ("shops", "gardens") or dice.chance(0.3):
        return
    reach = side.front - dice.uniform(0.2, 1.1) * side.front
    z, far = 2.0, side.hand * 60
    while z < 70:
        long = dice.uniform(6, 20)
        edge = side.hand * (reach * dice.uniform(0.6, 1.2))
        outline = [(far, 0, z), (edge, 0, z), (edge, 0, z + long), (far, 0, z + long)]
        stage.canvas.shade_ground(outline, 0.8)
        z += long * dice.uniform(1.0, 1.3)
