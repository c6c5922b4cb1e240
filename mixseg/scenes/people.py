"""People, and riders on bicycles and motorcycles; limbs are bars between joints in space."""

from __future__ import annotations

from typing import NamedTuple

from mixseg.scenes import labels as ids
from mixseg.scenes.canvas import Canvas
from mixseg.scenes.world import Color, Point, Pose, circle, tint

_WHEEL = circle(14)

Joints = tuple[tuple[float, float], tuple[float, float], float]
"""Where somebody sits and what they hold, (along, up), and the height of their feet, in meters."""


class Outfit(NamedTuple):
    """Colors of one person."""

    skin: Color
    top: Color
    legs: Color
    hair: Color


def draw_person(canvas: Canvas, pose: Pose, h: float, outfit: Outfit) -> None:
    """Someone who stands or walks, ``h`` meters tall."""
    dice = canvas.dice
    stride, swing = dice.uniform(0.0, 0.2) * h, dice.uniform(-0.12, 0.12) * h
    hip, shoulder = 0.5 * h, 0.8 * h
    world, label = pose.world, ids.PERSON
    for side in (-1.0, 1.0):
        foot = world(side * stride, side * 0.06 * h, 0.03 * h)
        knee = world(side * 0.55 * stride, side * 0.06 * h, 0.26 * h)
        shade = tint(outfit.legs, 0.85 if side < 0 else 1.0)
        canvas.limb(foot, knee, 0.085 * h, shade, label)
        canvas.limb(knee, world(0, side * 0.05 * h, hip), 0.1 * h, shade, label)
    neck = world(0, 0, shoulder - 0.05 * h)
    canvas.limb(world(0, 0, hip), neck, 0.24 * h, outfit.top, label)
    for side in (-1.0, 1.0):
        arm = world(0, side * 0.14 * h, shoulder - 0.02 * h)
        hand = world(-side * stride + swing, side * 0.17 * h, 0.46 * h)
        canvas.limb(arm, hand, 0.07 * h, tint(outfit.top, 0.8), label)
    canvas.ball(world(0, 0, 0.93 * h), 0.075 * h, outfit.hair, label)
    canvas.ball(world(0.03 * h, 0, 0.9 * h), 0.06 * h, outfit.skin, label)


def draw_bicycle(canvas: Canvas, pose: Pose, frame: Color, rider: Outfit | None = None) -> None:
    """A bicycle, parked or ridden; one sees through its wheels, which are labeled bicycle."""
    world, label = pose.world, ids.BICYCLE
    radius, reach = 0.35, 0.53
    rear, front = (world(s * reach, 0, radius) for s in (-1.0, 1.0))
    rims = [_ring(pose, s * reach, radius, radius) for s in (-1.0, 1.0)]
    diamond = [world(a, 0, u) for a, u in ((-0.5, 0.35), (-0.2, 0.85), (0.38, 0.85), (0.5, 0.35))]
    canvas.relabel([*rims, diamond], label)
    tire: Color = (35, 35, 38)
    for rim, hub in zip(rims, (rear, front), strict=True):
        for start, end in zip(rim, rim[1:] + rim[:1], strict=True):
            canvas.limb(start, end, 0.06, tire, label)
        for spoke in rim[:7:3]:
            canvas.limb(hub, spoke, 0.012, (140, 140, 145), label)
    crank, seat, head = world(-0.08, 0, 0.3), world(-0.2, 0, 0.88), world(0.38, 0, 0.9)
    bars = ((rear, crank), (rear, seat), (crank, seat), (crank, head), (seat, head), (head, front))
    for start, end in bars:
        canvas.limb(start, end, 0.055, frame, label)
    canvas.limb(world(0.34, -0.28, 1.0), world(0.34, 0.28, 1.0), 0.05, tire, label)
    canvas.limb(world(-0.32, 0, 0.93), world(-0.08, 0, 0.93), 0.1, tire, label)
    if rider is not None:
        _draw_rider(canvas, pose, ((-0.18, 0.95), (0.34, 1.02), 0.3), rider, None)


def draw_motorcycle(canvas: Canvas, pose: Pose, body: Color, rider: Outfit | None = None) -> None:
    """A motorcycle or scooter, parked or ridden."""
    dice = canvas.dice
    world, label = pose.world, ids.MOTORCYCLE
    radius, reach = 0.33, dice.uniform(0.65, 0.75)
    dark: Color = (30, 30, 33)
    for side in (-1.0, 1.0):
        canvas.polygon(_ring(pose, side * reach, radius, radius), dark, label)
        canvas.limb(world(side * reach, 0, 0.1), world(side * reach, 0, 0.58), 0.16, dark, label)
        canvas.polygon(_ring(pose, side * reach, radius, 0.5 * radius), (135, 135, 140), label)
    away = pose.cos >= 0
    bars: list[tuple[Point, Point, float, Color]] = [
        ((-0.3, 0, 0.4), (0.3, 0, 0.42), 0.34, tint(dark, 1.8)),
        ((-0.75, 0, 0.82), (-0.15, 0, 0.78), 0.22, tint(body, 0.75)),
        ((0.0, 0, 0.82), (0.42, 0, 0.85), 0.32, body),
        ((0.42, 0, 0.95), (0.7, 0, 0.4), 0.1, (160, 160, 165)),
        ((0.4, -0.36, 1.06), (0.4, 0.36, 1.06), 0.06, dark),
    ]
    if away:
        bars.append(((-0.8, 0, 0.55), (-0.75, 0, 0.85), 0.24, body))
    for start, end, thickness, color in bars:
        canvas.limb(world(*start), world(*end), thickness, color, label)
    lamp: Color = (205, 25, 25) if away else (250, 245, 215)
    canvas.ball(world(-0.85 if away else 0.62, 0, 0.86), 0.1, lamp, label)
    if rider is not None:
        helmet = dice.pick((body, (235, 235, 235), (30, 30, 32)))
        _draw_rider(canvas, pose, ((-0.22, 0.88), (0.4, 1.06), 0.36), rider, helmet)


def _draw_rider(
    canvas: Canvas, pose: Pose, joints: Joints, outfit: Outfit, helmet: Color | None
) -> None:
    (seat, grip, foot), lean = joints, canvas.dice.uniform(0.12, 0.3)
    world, label = pose.world, ids.RIDER
    along, up = seat[0] + lean, seat[1] + 0.52
    for side in (-1.0, 1.0):
        hip = world(seat[0], side * 0.1, seat[1])
        knee = world(seat[0] + 0.36, side * 0.14, 0.5 * (seat[1] + foot) + 0.12 + 0.06 * side)
        toe = world(seat[0] + 0.18, side * 0.13, foot + 0.04 * side)
        canvas.limb(hip, knee, 0.17, outfit.legs, label)
        canvas.limb(knee, toe, 0.13, tint(outfit.legs, 0.9), label)
    chest = world(along, 0.0, up - 0.12)
    canvas.limb(world(seat[0], 0, seat[1] + 0.08), chest, 0.4, outfit.top, label)
    for side in (-1.0, 1.0):
        shoulder, hand = world(along, side * 0.2, up - 0.03), world(grip[0], side * 0.26, grip[1])
        canvas.limb(shoulder, hand, 0.11, tint(outfit.top, 0.8), label)
    head = (along + 0.08, 0.0, up + 0.2)
    canvas.ball(world(*head), 0.15 if helmet else 0.12, helmet or outfit.skin, label)
    if helmet is None:
        canvas.ball(world(head[0] - 0.02, 0.0, head[2] + 0.05), 0.12, outfit.hair, label)


def _ring(pose: Pose, along: float, up: float, radius: float) -> list[Point]:
    """The outline of a wheel in the plane of the cycle."""
    return [pose.world(along + radius * cos, 0, up + radius * sin) for cos, sin in _WHEEL]
