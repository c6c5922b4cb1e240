"""Raw label ids of Cityscapes, as they stand in ``*_gtFine_labelIds.png``."""

from mixseg.data.cityscapes import CITYSCAPES

EGO_VEHICLE, STATIC = 1, 4
(
    ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN, VEGETATION, TERRAIN,
    SKY, PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE,
) = CITYSCAPES.label_ids  # fmt: skip
