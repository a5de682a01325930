"""Bodies with joints: a chain of links; a figure that hops, and one that bends its knees.

They move in the plane y = 0. The chain only hangs. The figures drive themselves: `simulation.controllers`
reads what they do off the constants of their MJCF.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from worldgen.simulation.engine import mujoco
from worldgen.simulation.scenes.balls import surround
from worldgen.simulation.scenes.factors import COLORS, USUAL, Factors, draw_count, draw_factors, pick_colors
from worldgen.simulation.scenes.staging import Scene, Setting, Stand, Thing, Vector, build

_PIVOT = 1.95
_LINK = 0.055
_BAR = Stand("bar", (0.3, 0.06, 0.03), (0.0, 0.0, _PIVOT + 0.03), solid=False)
_BONE = 0.4
_FOOT = (0.13, 0.05, 0.03)
_GRIP = 0.9
_STIFF = 1500.0


@dataclass(frozen=True)
class _Part:
    """A body of one geom in its parent's frame."""

    shape: str
    color: str
    size: Vector
    """Half extents; of a capsule the radius twice, and half the length with its ends."""
    at: Vector
    """Of its origin in the parent's frame."""
    center: Vector
    """Of its geom in its own frame."""
    joint: tuple[str, float, float] | None = None
    """hinge about y or slide along -z, and its limits."""
    density: float = 300.0


def chain(rng: np.random.Generator, factors: Factors = USUAL) -> Scene:
    """A chain of 2 to 4 links that is let go beside its bar, each link bent against the one above."""
    gravity = draw_factors(rng, *factors.gravity)
    count = draw_count(rng, 2, 4, factors.count)
    length = draw_factors(rng, 0.85, 1.1) / count
    side = 1.0 if rng.random() < 0.5 else -1.0
    limit = draw_factors(rng, 0.7, 1.1)
    colors = pick_colors(rng, count, factors)
    half = length / 2
    parts = [
        _Part("link", color, (_LINK, _LINK, half), (0, 0, _PIVOT if n == 0 else -length), (0, 0, -half),
              ("hinge", -1.6 if n == 0 else -limit, 1.6 if n == 0 else limit))
        for n, color in enumerate(colors)
    ]  # fmt: skip
    start = [-side * draw_factors(rng, 0.5, 0.9)]
    start += [side * draw_factors(rng, -0.4, 0.4) for _ in parts[1:]]
    setting = replace(surround(rng, factors, gravity), stands=(_BAR,), timestep=0.001)
    return _assemble("chain", parts, range(-1, count - 1), setting, start, [0.0] * count, rng)


def hop(rng: np.random.Generator, factors: Factors = USUAL) -> Scene:
    """A figure on one springy leg that hops to a side: balanced by where it puts its foot (Raibert 1986)."""
    gravity = draw_factors(rng, *factors.gravity)
    side = 1.0 if rng.random() < 0.5 else -1.0
    speed = side * draw_factors(rng, 0.5, 0.9)
    torso, limb = pick_colors(rng, 2, factors)
    leg = draw_factors(rng, 0.5, 0.6)
    height = leg + draw_factors(rng, 0.12, 0.2)
    x = -side * draw_factors(rng, 0.3, 0.6)
    half = leg / 2 - 0.08
    parts = [
        _Part("torso", torso, (0.22, 0.14, 0.12), (0, 0, height), (0, 0, 0.06), None, 500.0),
        _Part("leg", limb, (0.05, 0.05, half), (0, 0, 0), (0, 0, -half), ("hinge", -0.9, 0.9)),
        _Part("foot", limb, (0.06, 0.06, 0.06), (0, 0, -leg + 0.06), (0, 0, 0), ("slide", -0.16, 0.0)),
    ]  # fmt: skip
    setting = replace(
        surround(rng, factors, gravity),
        timestep=0.0005,
        stack=True,
        floor_friction=_GRIP,
        floor_priority=2,
        constants=(("hop", speed), ("leg", leg)),
    )
    rates = [speed, 0.0, 0.0, 0.0, 0.0]
    return _assemble("hop", parts, (-1, 0, 1), setting, [x, 0.0, 0.0, 0.0, 0.0], rates, rng)


def bend(rng: np.random.Generator, factors: Factors = USUAL) -> Scene:
    """A figure that stands on two feet, bends its knees and rises again."""
    gravity = draw_factors(rng, *factors.gravity)
    torso, limb = pick_colors(rng, 2, factors)
    period, depth = draw_factors(rng, 0.9, 1.2), draw_factors(rng, 0.75, 0.95)
    x, start = draw_factors(rng, -0.6, 0.6), draw_factors(rng, 0.1, 0.2)
    half = _BONE / 2
    lower = 2 * _BONE * math.cos(start)
    parts = [_Part("torso", torso, (0.12, 0.12, 0.3), (0, 0, lower + 2 * _FOOT[2]), (0, 0, 0.3), None, 250.0)]
    parents = [-1]
    for y in (-0.12, 0.12):
        top = len(parts)
        parts += [
            _Part("thigh", limb, (0.06, 0.06, half), (0, y, 0), (0, 0, -half), ("hinge", -1.4, 0.3)),
            _Part("shank", limb, (0.05, 0.05, half), (0, 0, -_BONE), (0, 0, -half), ("hinge", -0.1, 2.4)),
            _Part("foot", torso, _FOOT, (0, 0, -_BONE), (0.03, 0, -_FOOT[2]), ("hinge", -1.2, 0.6)),
        ]  # fmt: skip
        parents += [0, top, top + 1]
    setting = replace(
        surround(rng, factors, gravity),
        timestep=0.001,
        stack=True,
        floor_friction=_GRIP,
        floor_priority=2,
        constants=(("bend", depth), ("period", period), ("start", start)),
    )
    pose = [x, 0.0, 0.0, *[-start, 2 * start, -start] * 2]
    return _assemble("bend", parts, parents, setting, pose, [0.0] * len(pose), rng, _STIFF)


ARTICULATED = {"chain": chain, "hop": hop, "bend": bend}
"""Families of bodies with joints, by name; they are drawn where they are asked for."""


def _assemble(
    family: str,
    parts: list[_Part],
    parents: Sequence[int],
    setting: Setting,
    pose: list[float],
    rates: list[float],
    rng: np.random.Generator,
    stiff: float = 0.0,
) -> Scene:
    """The scene of parts that hang on each other, in a pose (nq) and with rates (nv).

    Motors give a torque, or with ``stiff`` (N m / rad) hold an angle.
    """
    setting = replace(setting, constants=(*setting.constants, ("articulated", 1.0)))
    spec = build((), setting)
    bodies, motors = [], []
    for number, (part, parent) in enumerate(zip(parts, parents, strict=True)):
        above = spec.worldbody if parent < 0 else bodies[parent]
        body = above.add_body(name=f"{part.shape}{number}", pos=part.at)
        bodies.append(body)
        if part.joint is None:
            _float(body)
        else:
            kind, low, high = part.joint
            hinge = kind == "hinge"
            body.add_joint(
                name=f"{part.shape}{number}",
                type=mujoco.mjtJoint.mjJNT_HINGE if hinge else mujoco.mjtJoint.mjJNT_SLIDE,
                axis=[0, 1, 0] if hinge else [0, 0, -1],
                range=[math.degrees(low), math.degrees(high)] if hinge else [low, high],
                limited=True,
                armature=0.02,
                solref_limit=[0.01, 1.0],
            )
            motors.append(f"{part.shape}{number}")
        capsule = part.shape not in ("torso", "foot")
        ball = part.shape == "foot" and part.size[0] == part.size[2]
        kinds = mujoco.mjtGeom
        body.add_geom(
            name=f"{part.shape}{number}",
            type=kinds.mjGEOM_CAPSULE if capsule else kinds.mjGEOM_SPHERE if ball else kinds.mjGEOM_BOX,
            size=[part.size[0], part.size[2] - part.size[0], 0] if capsule else part.size,
            pos=part.center,
            rgba=[*COLORS[part.color], 1],
            density=part.density,
            contype=int(part.shape == "foot"),
            conaffinity=0,
        )
    for name in motors if family != "chain" else ():
        motor = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        motor.gainprm[0] = stiff or 1.0
        if stiff:  # holds an angle
            motor.biastype = mujoco.mjtBias.mjBIAS_AFFINE
            motor.biasprm[:3] = 0, -stiff, -0.08 * stiff
    key = spec.add_key(name="start")
    key.qpos, key.qvel = pose, rates
    things = tuple(
        Thing(part.shape, part.color, "", part.size, part.at, density=part.density) for part in parts
    )
    return Scene(family, things, setting, spec, wording=int(rng.integers(2**31)))


def _float(body: mujoco.MjsBody) -> None:
    """Free in the plane: along x, along z, about y."""
    kinds = mujoco.mjtJoint
    for name, kind, axis in (
        ("x", kinds.mjJNT_SLIDE, [1, 0, 0]),
        ("z", kinds.mjJNT_SLIDE, [0, 0, 1]),
        ("pitch", kinds.mjJNT_HINGE, [0, 1, 0]),
    ):
        body.add_joint(name=name, type=kind, axis=axis)
