"""People, and riders on bicycles and motorcycles; limbs are bars between joints in space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from mixseg.data.demo import labels as ids
from mixseg.data.demo.canvas import Canvas, Colour, tint
from mixseg.data.demo.dice import Dice
from mixseg.data.demo.geometry import Pose

_WHEEL = [(math.cos(math.tau * i / 14), math.sin(math.tau * i / 14)) for i in range(14)]


@final
@dataclass(frozen=True)
class Outfit:
    """Colours of one person."""

    skin: Colour
    top: Colour
    legs: Colour
    hair: Colour


def draw_person(canvas: Canvas, pose: Pose, height: float, outfit: Outfit, dice: Dice) -> None:
    """Someone who stands or walks.

    Args:
        canvas: Surface to draw on.
        pose: Where they stand and where they go.
        height: Height in metres.
        outfit: Their colours.
        dice: Randomness.
    """
    h = height
    stride, swing = dice.uniform(0.0, 0.2) * h, dice.uniform(-0.12, 0.12) * h
    hip, shoulder = 0.5 * h, 0.8 * h
    world = pose.world
    for side in (-1.0, 1.0):
        foot = world(side * stride, side * 0.06 * h, 0.03 * h)
        knee = world(side * 0.55 * stride, side * 0.06 * h, 0.26 * h)
        shade = tint(outfit.legs, 0.85 if side < 0 else 1.0)
        canvas.limb(foot, knee, 0.085 * h, shade, ids.PERSON)
        canvas.limb(knee, world(0, side * 0.05 * h, hip), 0.1 * h, shade, ids.PERSON)
    canvas.limb(
        world(0, 0, hip), world(0, 0, shoulder - 0.05 * h), 0.24 * h, outfit.top, ids.PERSON
    )
    for side in (-1.0, 1.0):
        hand = world(-side * stride + swing, side * 0.17 * h, 0.46 * h)
        canvas.limb(
            world(0, side * 0.14 * h, shoulder - 0.02 * h),
            hand,
            0.07 * h,
            tint(outfit.top, 0.8),
            ids.PERSON,
        )
    canvas.ball(world(0, 0, 0.93 * h), 0.075 * h, outfit.hair, ids.PERSON)
    canvas.ball(world(0.03 * h, 0, 0.9 * h), 0.06 * h, outfit.skin, ids.PERSON)


def draw_bicycle(
    canvas: Canvas, pose: Pose, frame: Colour, dice: Dice, rider: Outfit | None = None
) -> None:
    """A bicycle, parked or ridden; one sees through its wheels, which are labelled bicycle."""
    world, project = pose.world, canvas.camera.project
    radius, reach = 0.35, 0.53
    label = ids.BICYCLE
    hubs = [world(s * reach, 0, radius) for s in (-1.0, 1.0)]
    rims = [_ring(pose, s * reach, radius, radius) for s in (-1.0, 1.0)]
    diamond = [world(a, 0, u) for a, u in ((-0.5, 0.35), (-0.2, 0.85), (0.38, 0.85), (0.5, 0.35))]
    see_through = [[project(*p) for p in outline] for outline in (*rims, diamond)]
    canvas.relabel(see_through, label)
    tyre: Colour = (35, 35, 38)
    for rim, hub in zip(rims, hubs, strict=True):
        for start, end in zip(rim, rim[1:] + rim[:1], strict=True):
            canvas.limb(start, end, 0.06, tyre, label)
        for spoke in rim[:7:3]:
            canvas.limb(hub, spoke, 0.012, (140, 140, 145), label)
    crank, seat, head = world(-0.08, 0, 0.3), world(-0.2, 0, 0.88), world(0.38, 0, 0.9)
    bars = (
        (hubs[0], crank),
        (hubs[0], seat),
        (crank, seat),
        (crank, head),
        (seat, head),
        (head, hubs[1]),
    )
    for start, end in bars:
        canvas.limb(start, end, 0.055, frame, label)
    canvas.limb(world(0.34, -0.28, 1.0), world(0.34, 0.28, 1.0), 0.05, tyre, label)
    canvas.limb(world(-0.32, 0, 0.93), world(-0.08, 0, 0.93), 0.1, tyre, label)
    if rider is not None:
        _draw_rider(canvas, pose, (-0.18, 0.95), (0.34, 1.02), 0.3, rider, dice, None)


def draw_motorcycle(
    canvas: Canvas, pose: Pose, body: Colour, dice: Dice, rider: Outfit | None = None
) -> None:
    """A motorcycle or scooter, parked or ridden."""
    world, label = pose.world, ids.MOTORCYCLE
    radius, reach = 0.33, dice.uniform(0.65, 0.75)
    dark: Colour = (30, 30, 33)
    for side in (-1.0, 1.0):
        ring = _ring(pose, side * reach, radius, radius)
        canvas.polygon(ring, dark, label)
        canvas.limb(world(side * reach, 0, 0.1), world(side * reach, 0, 0.58), 0.16, dark, label)
        canvas.polygon(_ring(pose, side * reach, radius, 0.5 * radius), (135, 135, 140), label)
    canvas.limb(world(-0.3, 0, 0.4), world(0.3, 0, 0.42), 0.34, tint(dark, 1.8), label)
    canvas.limb(world(-0.75, 0, 0.82), world(-0.15, 0, 0.78), 0.22, tint(body, 0.75), label)
    canvas.limb(world(0.0, 0, 0.82), world(0.42, 0, 0.85), 0.32, body, label)
    canvas.limb(world(0.42, 0, 0.95), world(0.7, 0, 0.4), 0.1, (160, 160, 165), label)
    canvas.limb(world(0.4, -0.36, 1.06), world(0.4, 0.36, 1.06), 0.06, dark, label)
    facing_camera = pose.cos < 0
    lamp: Colour = (250, 245, 215) if facing_camera else (205, 25, 25)
    along = 0.62 if facing_camera else -0.85
    if not facing_camera:
        canvas.limb(world(-0.8, 0, 0.55), world(-0.75, 0, 0.85), 0.24, body, label)
    canvas.ball(world(along, 0, 0.86), 0.1, lamp, label)
    if rider is not None:
        helmet = dice.pick((body, (235, 235, 235), (30, 30, 32)))
        _draw_rider(canvas, pose, (-0.22, 0.88), (0.4, 1.06), 0.36, rider, dice, helmet)


def _draw_rider(
    canvas: Canvas,
    pose: Pose,
    seat: tuple[float, float],
    grip: tuple[float, float],
    foot: float,
    outfit: Outfit,
    dice: Dice,
    helmet: Colour | None,
) -> None:
    """Someone who sits; seat and grip are (along, up) and foot is up, in metres."""
    world, label = pose.world, ids.RIDER
    lean = dice.uniform(0.12, 0.3)
    shoulder = (seat[0] + lean, seat[1] + 0.52)
    for side in (-1.0, 1.0):
        hip = world(seat[0], side * 0.1, seat[1])
        knee = world(seat[0] + 0.36, side * 0.14, 0.5 * (seat[1] + foot) + 0.12 + 0.06 * side)
        toe = world(seat[0] + 0.18, side * 0.13, foot + 0.04 * side)
        canvas.limb(hip, knee, 0.17, outfit.legs, label)
        canvas.limb(knee, toe, 0.13, tint(outfit.legs, 0.9), label)
    canvas.limb(world(seat[0], 0, seat[1] + 0.08), world(*_mid(shoulder)), 0.4, outfit.top, label)
    for side in (-1.0, 1.0):
        hand = world(grip[0], side * 0.26, grip[1])
        canvas.limb(
            world(shoulder[0], side * 0.2, shoulder[1] - 0.03),
            hand,
            0.11,
            tint(outfit.top, 0.8),
            label,
        )
    head = (shoulder[0] + 0.08, 0.0, shoulder[1] + 0.2)
    canvas.ball(world(*head), 0.15 if helmet else 0.12, helmet or outfit.skin, label)
    if helmet is None:
        canvas.ball(world(head[0] - 0.02, 0.0, head[2] + 0.05), 0.12, outfit.hair, label)


def _mid(shoulder: tuple[float, float]) -> tuple[float, float, float]:
    """The middle of the shoulders as (along, across, up)."""
    return (shoulder[0], 0.0, shoulder[1] - 0.12)


def _ring(pose: Pose, along: float, up: float, radius: float) -> list[tuple[float, float, float]]:
    """The outline of a wheel in the plane of the cycle."""
    return [pose.world(along + radius * cos, 0, up + radius * sin) for cos, sin in _WHEEL]
