"""The plan of a street, and the stage on which the things of a scene wait to be painted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple, final

from mixseg.scenes.canvas import Canvas
from mixseg.scenes.dice import Dice
from mixseg.scenes.looks import Look
from mixseg.scenes.world import Color

Span = tuple[float, float]
"""From one depth to another in meters."""

LANE = 3.4
"""Width of a lane in meters."""

_CROSSING_WALK = 3.0
"""Width of the sidewalks along the crossing street in meters."""

# Painting order. A thing nearer to the middle of the street hides one farther out, whatever
# their depths, because a line of sight leaves the street only once.
BUILT: Final = 0
GARDEN: Final = 1
BOUNDARY: Final = 2
STREET: Final = 3

_LAYOUTS: Final[Mapping[str, tuple[float, float]]] = {
    "canyon": (3.5, 2.5),
    "suburb": (2.5, 1.5),
    "park": (1.5, 1.0),
    "highway": (1.0, 2.0),
    "square": (1.5, 2.0),
}
"""Layout -> how often it comes in the looks camera and render."""

_SIDES: Final[Mapping[str, dict[str, float]]] = {
    "canyon": {"shops": 6, "gardens": 1, "works": 1},
    "suburb": {"shops": 1, "gardens": 5, "park": 1, "works": 1},
    "park": {"shops": 1, "gardens": 1, "park": 4},
    "highway": {"barrier": 4, "park": 2, "works": 1},
    "square": {"shops": 4, "gardens": 1, "park": 1},
}

_BOUNDARIES: Final[Mapping[str, dict[str, float]]] = {
    "shops": {"none": 5, "fence": 1},
    "gardens": {"none": 1, "wall": 3, "fence": 3, "hedge": 2},
    "park": {"none": 2, "wall": 1, "fence": 3, "hedge": 1},
    "barrier": {"none": 0.5, "wall": 4, "fence": 3},
    "works": {"wall": 3, "fence": 3},
}


class Side(NamedTuple):
    """One side of the street, measured in meters from the camera's line outwards."""

    hand: float  # -1 for the left side, 1 for the right side
    kind: str  # "shops", "gardens", "park", "barrier" or "works"
    curb: float  # edge of the carriageway
    parking: float  # width of the parking lane inside the curb; 0 for none
    verge: float  # width of the planted strip between curb and sidewalk
    walk: float  # outer edge of the sidewalk
    boundary: str  # "none", "wall", "fence" or "hedge"; it stands at ``walk``
    front: float  # where the buildings begin


class Street(NamedTuple):
    """A street as seen from its lane at x = 0."""

    layout: str  # "canyon", "suburb", "park", "highway" or "square"
    sides: tuple[Side, Side]  # left and right side
    lanes: tuple[tuple[float, bool], ...]  # middles, and whether traffic comes towards the camera
    crossing: Span | None  # depths between which another street crosses, or None
    end: float | None  # depth at which a building closes the street, or None
    rails: float | None  # middle of a tram track, or None

    @property
    def block(self) -> Span | None:
        """The crossing with its sidewalks."""
        walk = _CROSSING_WALK
        return self.crossing and (self.crossing[0] - walk, self.crossing[1] + walk)


def draw_street(look: Look, dice: Dice) -> Street:
    """Draw the plan of a street; in some a tram runs to the left of the camera's lane."""
    layout = dice.weighted({name: one[look == "render"] for name, one in _LAYOUTS.items()})
    wide = layout in ("highway", "square")
    shift = dice.uniform(-0.6, 0.6)
    onward = dice.integer(1, 2) if wide else 1
    oncoming = dice.integer(1, 2) if wide else dice.integer(0 if layout == "canyon" else 1, 1)
    lanes = [(shift + LANE * i, False) for i in range(onward)]
    left = shift - 0.5 * LANE
    rails = None
    if dice.chance(0.3):
        rails = left - 0.5 * LANE
        left -= LANE
    for _ in range(oncoming):
        lanes.append((left - 0.5 * LANE, True))
        left -= LANE
    right = shift + LANE * (onward - 0.5)
    crossing = None
    if dice.chance(0.9 if layout == "square" else 0.25) and layout != "highway":
        begin = dice.uniform(14, 30)
        crossing = (begin, begin + dice.uniform(8, 14))
    end = dice.uniform(45, 90) if dice.chance(0.3) and layout != "highway" else None
    sides = (_side(-1.0, -left, layout, dice), _side(1.0, right, layout, dice))
    return Street(layout, sides, tuple(lanes), crossing, end, rails)


def _side(hand: float, edge: float, layout: str, dice: Dice) -> Side:
    """One side, whose lanes end ``edge`` meters from the camera's line."""
    kind = dice.weighted(_SIDES[layout])
    parks = layout in ("canyon", "suburb") and dice.chance(0.55)
    parking = 2.3 if parks else 0.0
    curb = edge + parking + (0.0 if parks else dice.uniform(0.2, 0.8))
    verge = dice.uniform(1.0, 3.0) if kind != "shops" and dice.chance(0.5) else 0.0
    if kind == "barrier":
        walk = curb + verge + dice.uniform(0.3, 1.5)
    else:
        walk = curb + verge + dice.uniform(2.0, 6.0 if kind == "shops" else 3.8)
    setback = {"shops": (0.0, 0.3), "gardens": (3.0, 9.0), "works": (6.0, 14.0)}
    low, high = setback.get(kind, (18.0, 40.0))
    boundary = dice.weighted(_BOUNDARIES[kind])
    return Side(hand, kind, curb, parking, verge, walk, boundary, walk + dice.uniform(low, high))


@final
class Stage:
    """Collects the things of a scene and paints them back to front."""

    def __init__(self, canvas: Canvas, street: Street) -> None:
        self.canvas, self.camera, self.dice = canvas, canvas.camera, canvas.dice
        self.style, self.street = canvas.style, street
        self.leaves = (self.color("leaves"), self.color("leaves"))
        """Crown colors of this scene: trees of one season look alike."""
        self.metal = self.color("metal")
        """Color of this street's poles."""
        self._things: list[tuple[int, int, float, Callable[[], None]]] = []

    def color(self, material: str) -> Color:
        """A color that the material may have in this scene's look."""
        return self.style.color(material, self.dice)

    def crossed(self, z: float) -> bool:
        """Whether depth z lies on the crossing street."""
        crossing = self.street.crossing
        return crossing is not None and crossing[0] - 1 < z < crossing[1] + 1

    def add(self, layer: int, depth: float, draw: Callable[..., None], *arguments: object) -> None:
        """Put a thing on the stage: ``draw(canvas, *arguments)`` paints it."""
        paint = partial(draw, self.canvas, *arguments)
        self._things.append((self._block(depth), layer, -depth, paint))

    def paint(self) -> None:
        """Paint everything on the stage, the farthest first."""
        for *_, paint in sorted(self._things, key=lambda thing: thing[:3]):
            paint()

    def _block(self, depth: float) -> int:
        """0 behind the crossing street, 1 on it, 2 before it.

        What crosses leaves the street sideways, so there the layers do not tell what hides what;
        whole blocks do.
        """
        if self.street.block is None:
            return 0
        near, far = self.street.block
        return int(depth < far) + int(depth < near)
