"""Raw label ids of Cityscapes, as they stand in ``*_gtFine_labelIds.png``."""

from __future__ import annotations

from typing import Final

EGO_VEHICLE: Final = 1
STATIC: Final = 4
ROAD: Final = 7
SIDEWALK: Final = 8
BUILDING: Final = 11
WALL: Final = 12
FENCE: Final = 13
POLE: Final = 17
TRAFFIC_LIGHT: Final = 19
TRAFFIC_SIGN: Final = 20
VEGETATION: Final = 21
TERRAIN: Final = 22
SKY: Final = 23
PERSON: Final = 24
RIDER: Final = 25
CAR: Final = 26
TRUCK: Final = 27
BUS: Final = 28
TRAIN: Final = 31
MOTORCYCLE: Final = 32
BICYCLE: Final = 33
