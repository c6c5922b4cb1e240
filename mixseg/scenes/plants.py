"""Trees, hedges and bushes."""

from __future__ import annotations

import math

from mixseg.scenes import labels as ids
from mixseg.scenes.canvas import Canvas
from mixseg.scenes.world import Color, Pixel, blend, tint


def draw_tree(
    canvas: Canvas, x: float, z: float, height: float, species: str, leaves: Color, bark: Color
) -> None:
    """A "round" tree, "column" or "conifer"; all of it is vegetation, as in Cityscapes."""
    dice = canvas.dice
    trunk = height * {"round": dice.uniform(0.25, 0.4), "column": 0.15, "conifer": 0.1}[species]
    top = (x + dice.uniform(-0.2, 0.2), trunk + 0.2 * height, z)
    canvas.limb((x, 0.0, z), top, 0.05 * height, bark, ids.VEGETATION)
    if species == "conifer":
        _cone(canvas, x, z, trunk, height, leaves)
        return
    half = (height - trunk) / 2
    slim = dice.uniform(0.8, 1.15) if species == "round" else dice.uniform(0.3, 0.42)
    _crown(canvas, x, trunk + half, z, half * slim, half, leaves)


def draw_bush(canvas: Canvas, x: float, z: float, size: float, leaves: Color) -> None:
    """A bush of the given half width in meters."""
    _crown(canvas, x, 0.5 * size, z, size, 0.7 * size, leaves)


def draw_hedge(
    canvas: Canvas, x: float, near: float, far: float, height: float, leaves: Color
) -> None:
    """A hedge along the street: a row of overlapping leafy clumps, drawn back to front."""
    dice = canvas.dice
    depths = [near]
    while depths[-1] < far:
        depths.append(depths[-1] * 1.09 + 0.25)
    for z in reversed(depths):
        center, scale = canvas.camera.project(x, 0.5 * height, z), canvas.camera.scale(z)
        radii = ((0.7 + 0.03 * z) * scale, 0.56 * height * scale)
        lit = tint(leaves, dice.uniform(0.65, 1.05))
        canvas.blob(center, radii, 0.15, lit, ids.VEGETATION, z)


def _crown(
    canvas: Canvas, x: float, y: float, z: float, rx: float, ry: float, leaves: Color
) -> None:
    """Foliage: a ragged dark mass with lighter clumps towards the sun."""
    dice = canvas.dice
    (column, row), scale = canvas.camera.project(x, y, z), canvas.camera.scale(z)
    rx, ry = rx * scale, ry * scale

    def clump(spot: Pixel, size: float, ruggedness: float, shade: float) -> None:
        radii = (size * rx, size * ry)
        canvas.blob(spot, radii, ruggedness, tint(leaves, shade), ids.VEGETATION, z)

    clump((column, row), 1.0, 0.22, 0.55)
    count = int(min(24.0, 3.0 + rx * 0.35))
    for _ in range(count // 2):
        angle = dice.uniform(0.0, math.tau)
        spot = (column + 0.8 * rx * math.cos(angle), row + 0.8 * ry * math.sin(angle))
        clump(spot, dice.uniform(0.16, 0.32), 0.45, dice.uniform(0.5, 0.75))
    lean = 0.25 * canvas.style.sun[0]
    for i in range(count):
        rise = i / count
        dx, dy = dice.uniform(-0.72, 0.72), dice.uniform(0.7, -0.25) - 0.5 * rise
        spot = (column + (dx + lean * rise) * rx, row + dy * ry)
        size = dice.uniform(0.2, 0.42)
        clump(spot, size, 0.4, 0.62 + 0.45 * rise + dice.uniform(-0.1, 0.1))


def _cone(canvas: Canvas, x: float, z: float, base: float, top: float, leaves: Color) -> None:
    """A conifer: tiers that narrow towards the top."""
    dice = canvas.dice
    for tier in range(5):
        low = base + (top - base) * tier / 5.5
        high = min(top, low + (top - base) * 0.42)
        half = 0.24 * (top - low) + 0.2
        jag = half * dice.uniform(0.4, 0.6)
        color = tint(leaves, 0.6 + 0.1 * tier + dice.uniform(-0.06, 0.06))
        edge = [
            (x - half, low, z), (x - jag, low + 0.12 * half, z), (x, low - 0.1 * half, z),
            (x + jag, low + 0.14 * half, z), (x + half, low, z), (x, high, z),
        ]  # fmt: skip
        canvas.polygon(edge, color, ids.VEGETATION)
        sunny = [(x, low, z), (x + half * canvas.style.sun[0], low, z), (x, high, z)]
        canvas.polygon(sunny, blend(color, leaves, 0.6), ids.VEGETATION)
