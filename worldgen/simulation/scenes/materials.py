"""What decides how balls move and is not seen: gravity, masses, and how they bounce, read from an MJCF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.simulation.engine import model_of, mujoco, object_bodies
from worldgen.simulation.scenes.staging import restitution_of_damping


class Materials(NamedTuple):
    """Of B scenes with at most N balls each; the places of a scene that has fewer hold 1 kg and no bounce."""

    gravity: Float[Tensor, " B"]
    """m/s^2, downward."""
    mass: Float[Tensor, "B N"]
    """kg."""
    restitution: Float[Tensor, "B N"]
    """Of each ball: speed after a bounce over speed before it."""
    dead_floor: Bool[Tensor, " B"]
    """True where the floor gives nothing back, whatever falls on it."""


def read_materials(scenes: Sequence[str]) -> Materials:
    """What MJCF texts say of their balls.

    Raises:
        ValueError: A scene that is not of free balls on a floor, with gravity straight down.
    """
    read = [_read_scene(scene) for scene in scenes]
    most = max(len(masses) for _, masses, _, _ in read)

    def padded(values: list[float], blank: float) -> list[float]:
        return values + [blank] * (most - len(values))

    return Materials(
        torch.tensor([gravity for gravity, *_ in read]),
        torch.tensor([padded(masses, 1.0) for _, masses, _, _ in read]),
        torch.tensor([padded(bounces, 0.0) for _, _, bounces, _ in read]),
        torch.tensor([dead for *_, dead in read]),
    )


def _read_scene(xml: str) -> tuple[float, list[float], list[float], bool]:
    model = model_of(xml)
    bodies = object_bodies(model)
    geoms = [int(model.body_geomadr[body]) for body in bodies]
    free = [model.jnt_type[model.body_jntadr[body]] == mujoco.mjtJoint.mjJNT_FREE for body in bodies]
    round_ = [model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_SPHERE for geom in geoms]
    floor = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, "floor")
    sideways = max(abs(float(model.opt.gravity[axis])) for axis in (0, 1))
    stands = [geom for geom in range(model.ngeom) if geom not in (*geoms, floor) and model.geom_contype[geom]]
    if not bodies or not all(free) or not all(round_) or floor < 0 or stands or sideways > 1e-6:
        raise ValueError(
            f"What is foretold are balls that move freely on a floor and touch nothing else, with gravity "
            f"straight down; got a scene of {len(bodies)} objects where that is not so. Take the families "
            "drop, bounce and collide."
        )
    bounces = [_restitution(model, geom) for geom in geoms]
    dead = bool(model.geom_priority[floor] > max(model.geom_priority[geom] for geom in geoms))
    masses = [float(model.body_mass[body]) for body in bodies]
    return -float(model.opt.gravity[2]), masses, bounces, dead and _restitution(model, floor) < 0.05


def _restitution(model: mujoco.MjModel, geom: int) -> float:
    """Of a geom's own contacts; 0 where they are damped so much that nothing comes back."""
    stiffness, damping = -model.geom_solref[geom]
    if stiffness <= 0 or not 0 <= damping < 2 * math.sqrt(stiffness):
        return 0.0
    return float(restitution_of_damping(damping / (2 * math.sqrt(stiffness))))
