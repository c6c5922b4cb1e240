"""The plan of a street: cross-section, lanes, crossing and what stands along its sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from mixseg.scenes.dice import Dice
from mixseg.scenes.looks import Look

Span = tuple[float, float]
"""From one depth to another in meters."""

LANE = 3.4
"""Width of a lane in meters."""

_CROSSING_WALK = 3.0
"""Width of the sidewalks along the crossing street in meters."""

_LAYOUTS: Final[Mapping[str, Mapping[Look, float]]] = {
    "canyon": {"camera": 3.5, "render": 2.5},
    "suburb": {"camera": 2.5, "render": 1.5},
    "park": {"camera": 1.5, "render": 1.0},
    "highway": {"camera": 1.0, "render": 2.0},
    "square": {"camera": 1.5, "render": 2.0},
}

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


@final
@dataclass(frozen=True)
class Side:
    """One side of the street, measured in meters from the camera's line outwards."""

    hand: float  # -1 for the left side, 1 for the right side
    kind: str  # "shops", "gardens", "park", "barrier" or "works"
    curb: float  # edge of the carriageway
    parking: float  # width of the parking lane inside the curb; 0 for none
    verge: float  # width of the planted strip between curb and sidewalk
    walk: float  # outer edge of the sidewalk
    boundary: str  # "none", "wall", "fence" or "hedge"; it stands at ``walk``
    front: float  # where the buildings begin


@final
@dataclass(frozen=True)
class Street:
    """A street as seen from its lane at x = 0."""

    layout: str  # "canyon", "suburb", "park", "highway" or "square"
    sides: tuple[Side, Side]  # left and right side
    # Middle of every lane and whether its traffic comes towards the camera.
    lanes: tuple[tuple[float, bool], ...]
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
    layout = dice.weighted({name: weights[look] for name, weights in _LAYOUTS.items()})
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
